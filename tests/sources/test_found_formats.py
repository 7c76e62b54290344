"""Files as they lie about: Lightning, Hugging Face, TorchScript, shards; read by content under any name."""

import json

import numpy as np
import pytest

from gradscope.errors import InputError
from gradscope.sources.files import read_matrices, read_weights, select_layers
from tests.sources.test_named_tensors import write_npz, write_safetensors
from tests.sources.test_torch_files import Checkpoint, _Call, _Named, dumps


@pytest.fixture
def gru():
    rng = np.random.default_rng(3)
    shapes = {"weight_ih_l0": (12, 3), "weight_hh_l0": (12, 4), "bias_ih_l0": (12,), "bias_hh_l0": (12,)}
    return {f"encoder.rnn.{name}": rng.standard_normal(shape) for name, shape in shapes.items()}


@pytest.fixture(params=[False, True], ids=["zip", "before 1.6"])
def checkpoint(request):
    return Checkpoint(legacy=request.param)


@pytest.mark.parametrize("name", ["epoch=3.ckpt", "pytorch_model.bin", "best.pth.tar", "m.tar", "m.model", "weights"])
def test_a_checkpoint_under_any_name(tmp_path, checkpoint, gru, name):
    """As Lightning writes it: the state dict beside hyper-parameters, callbacks, an optimiser."""
    hyper = _Call(_Named("pytorch_lightning.utilities.parsing", "AttributeDict"))
    saved = {
        "epoch": 3,
        "global_step": 400,
        "pytorch-lightning_version": "2.4.0",
        "state_dict": checkpoint.state_dict({f"model.{key}": array for key, array in gru.items()}),
        "hyper_parameters": hyper,
        "callbacks": {_Named("pytorch_lightning.callbacks.model_checkpoint", "ModelCheckpoint"): {"best": None}},
        "optimizer_states": [{"state": {0: {"exp_avg": checkpoint.tensor(np.ones((12, 3)))}}}],
    }
    found = read_weights(checkpoint.write(tmp_path / name, saved))
    assert [layer.module for layer in found.layers] == ["model.encoder.rnn"]
    np.testing.assert_array_equal(found.layers[0].weight_hh, gru["encoder.rnn.weight_hh_l0"])


def test_a_torchscript_archive_is_read_for_its_tensors(tmp_path, gru):
    """data.pkl holds objects of __torch__ classes whose attributes are set by BUILD; code/ is never looked at."""
    checkpoint = Checkpoint()

    class Object:
        def __init__(self, kind, attributes):
            self.kind, self.attributes = kind, attributes

    def write(obj):
        import io

        from tests.sources.test_torch_files import TorchPickler

        class Pickler(TorchPickler):
            def save(self, obj, save_persistent_id=True):
                if isinstance(obj, Object):
                    module, _, name = obj.kind.rpartition(".")
                    self.write(b"c" + module.encode() + b"\n" + name.encode() + b"\n)\x81")
                    self.save(obj.attributes)
                    self.write(b"b")
                else:
                    super().save(obj, save_persistent_id)

        out = io.BytesIO()
        Pickler(out, 2).dump(obj)
        return out.getvalue()

    weights = {name.rpartition(".")[2]: checkpoint.tensor(array) for name, array in gru.items()}
    rnn = Object("__torch__.torch.nn.modules.rnn.GRU", {"training": False, "hidden_size": 4, **weights})
    sizes = _Call(_Named("torch.jit._pickle", "build_intlist"), [1, 2])
    net = Object("__torch__.vad.Net", {"encoder": Object("__torch__.E", {"rnn": rnn}), "sizes": sizes})
    import zipfile

    with zipfile.ZipFile(tmp_path / "silero.jit", "w") as members:
        members.writestr("silero/code/__torch__/vad.py", "import os; os.system('touch ran')")
        members.writestr("silero/constants.pkl", dumps(()))
        members.writestr("silero/data.pkl", write(net))
        members.writestr("silero/version", "3")
        for key, flat in checkpoint.storages.items():
            members.writestr(f"silero/data/{key}", flat.tobytes())
    (layer,) = select_layers(read_weights(tmp_path / "silero.jit"))
    assert (layer.module, layer.cell) == ("encoder.rnn", "gru")
    np.testing.assert_array_equal(layer.weight_ih, gru["encoder.rnn.weight_ih_l0"])


def sharded(tmp_path, gru, **changes):
    names = list(gru)
    for i, part in enumerate((names[:2], names[2:])):
        write_safetensors(tmp_path / f"model-0000{i + 1}-of-00002.safetensors", {name: gru[name] for name in part})
    places = {name: f"model-0000{1 + (i >= 2)}-of-00002.safetensors" for i, name in enumerate(names)} | changes
    path = tmp_path / "model.safetensors.index.json"
    path.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": places}))
    return path


def test_shards_are_one_model(tmp_path, gru):
    found = read_weights(sharded(tmp_path, gru))
    (layer,) = found.layers
    np.testing.assert_array_equal(layer.bias_hh, gru["encoder.rnn.bias_hh_l0"])
    before = found.sha256
    gru["encoder.rnn.bias_hh_l0"][0] += 1
    assert read_weights(sharded(tmp_path, gru)).sha256 != before  # the shards are part of what was read


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"x": "../secret.safetensors"}, "plain NAME.safetensors in the same folder"),
        ({"x": "/etc/passwd"}, "plain NAME.safetensors in the same folder"),
        ({"x": "sub/m.safetensors"}, "plain NAME.safetensors in the same folder"),
        ({"x": "a" * 5000}, "a shard's name of 5000"),
        ({"x": "gone.safetensors"}, "no such file"),
        ({"x": "model-00001-of-00002.safetensors"}, "'x' should be in model-00001"),
        ({"x": 3}, "no 'weight_map'"),
    ],
)
def test_an_index_that_leads_elsewhere_is_refused(tmp_path, gru, changes, match):
    with pytest.raises(InputError, match=match):
        read_weights(sharded(tmp_path, gru, **changes))


def test_json_that_is_no_index(tmp_path):
    (tmp_path / "config.json").write_text('{"hidden_size": 8}')
    with pytest.raises(InputError, match="not the index of safetensors shards"):
        read_weights(tmp_path / "config.json")


def test_matrices_by_content(tmp_path):
    np.save(tmp_path / "w.npy", np.eye(3))
    (tmp_path / "w.npy").rename(tmp_path / "w.dat")
    assert read_matrices(tmp_path / "w.dat").values.shape == (3, 3)
    with pytest.raises(InputError, match="one numpy array, not named weights"):
        read_weights(tmp_path / "w.dat")
    write_npz(tmp_path / "j.npz", {"J": np.ones((4, 2, 2))}).rename(tmp_path / "j")
    assert read_matrices(tmp_path / "j").are_jacobians


def test_bytes_and_complex_numbers_in_a_checkpoint_are_no_matter(tmp_path, checkpoint, gru):
    """What torch's weights_only admits beside tensors: a random state, a complex buffer, numpy scalars."""
    extra = {
        "rng": _Call(_Named("__builtin__", "bytearray"), "abc", "latin-1"),
        "raw": _Call(_Named("_codecs", "encode"), "\xff\x00", "latin1"),
        "phase": _Call(_Named("builtins", "complex"), 1.0, 2.0),
        "loss": _Call(_Named("numpy.core.multiarray", "scalar"), _Call(_Named("numpy", "dtype"), "f8"), "12345678"),
        "spectrum": checkpoint.tensor(np.ones(2, dtype=np.complex64), kind="ComplexFloatStorage"),
    }
    saved = {"model": checkpoint.state_dict(gru), **extra}
    assert len(read_weights(checkpoint.write(tmp_path / "w.pt", saved)).layers) == 1


def test_odd_but_legal_views(tmp_path, checkpoint, gru):
    """An axis of one element may have any stride; an empty tensor any shape that numpy can count."""
    state = checkpoint.state_dict(gru)
    state["one"] = checkpoint.tensor(np.ones((1, 3)), stride=(1 << 61, 1))
    state["none"] = checkpoint.tensor(np.ones((0, 3)), stride=(1 << 61, 1))
    found = read_weights(checkpoint.write(tmp_path / "w.pt", state))
    assert found.other_arrays["one"].shape == (1, 3)
    assert found.other_arrays["none"].shape == (0, 3)


@pytest.mark.parametrize("line", [b"L--5L\n", b"I--5\n", b"L5LL\n", b"I\xb2\n", b"L-\n"])
def test_decimal_numbers_that_are_none(tmp_path, line):
    import zipfile

    with zipfile.ZipFile(tmp_path / "w.pt", "w") as members:
        members.writestr("archive/data.pkl", b"\x80\x02" + line + b".")
    with pytest.raises(InputError, match="a number that is none"):
        read_weights(tmp_path / "w.pt")


def test_silero_vads_torchscript_holds_the_weights_of_its_onnx_models(forward):
    """Two exports of one network, in gate orders i,f,g,o and i,o,f,c, at 16 kHz and at 8 kHz."""
    script = read_weights(forward.model_file("silero-vad", "silero_vad.jit"))
    graph = read_weights(forward.model_file("silero-vad", "silero_vad.onnx"))
    for module, branch in (("_model.decoder.rnn", "*then*"), ("_model_8k.decoder.rnn", "*else*")):
        (layer,), (same,) = select_layers(script, param=module), select_layers(graph, param=branch)
        np.testing.assert_array_equal(layer.weight_hh, same.weight_hh)
        np.testing.assert_array_equal(layer.weight_ih, same.weight_ih)
