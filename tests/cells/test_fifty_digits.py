"""Products of step Jacobians at every lag against 50 digits, from recurrences written out a second time in mpmath."""

from __future__ import annotations

import mpmath as mp
import numpy as np
import pytest

from gradscope.networks.layer import Layer

STEPS = 12


def sigma(a):
    return 1 / (1 + mp.exp(-a))


def normalise(cell, p):
    """(p − mean)/√(var + 1e−5) over the units of one gate; the 1e−5 is the double that the code holds."""
    if cell.norm == "none":
        return p
    mean = sum(p) / len(p)
    s = mp.sqrt(sum((v - mean) ** 2 for v in p) / len(p) + mp.mpf(1e-5))
    return [(v - mean) / s for v in p]


def gates(cell, h, x):
    """Lists of pre-activations, W h + U x + b, gate by gate."""
    U, W, b = cell.weight_ih.tolist(), cell.weight_hh.tolist(), cell.bias.tolist()
    H = cell.gate_size
    if cell.name == "lru":
        W = [[0.0] * H] * len(b)
    elif cell.recurrent == "own":
        W = [[w[0] if i == j else 0.0 for j in range(H)] for i, w in enumerate(W)]
    if cell.recurrent == "none":
        W = [[0.0] * H] * len(b)
    rows = [
        sum(mp.mpf(w) * v for w, v in zip(W[i], h, strict=True))
        + sum(mp.mpf(u) * v for u, v in zip(U[i], x, strict=True))
        + mp.mpf(b[i])
        for i in range(len(b))
    ]
    blocks = [rows[g * H : (g + 1) * H] for g in range(len(rows) // H)]
    return blocks if cell.name == "gru" else [normalise(cell, p) for p in blocks]


def step(cell, s, x):
    """The article's recurrences, in the words of their docstrings."""
    H = cell.hidden_size
    h = s[:H]
    if cell.name in ("rnn", "indrnn"):
        return [mp.tanh(a) for a in gates(cell, h, x)[0]]
    if cell.name == "skip":
        return [v + mp.tanh(a) for v, a in zip(h, gates(cell, h, x)[0], strict=True)]
    if cell.name == "leaky":
        leak = mp.mpf(cell.leak)
        return [(1 - leak) * v + leak * mp.tanh(a) for v, a in zip(h, gates(cell, h, x)[0], strict=True)]
    if cell.name == "lru":
        units, drive = (H + 1) // 2, gates(cell, h, x)[0]
        nu_theta = [mp.mpf(w[0]) for w in cell.weight_hh.tolist()]
        out = list(drive)
        for j in range(units):
            theta = nu_theta[units + j] if units + j < H else mp.mpf(0)
            a, b = (mp.exp(-mp.exp(nu_theta[j])) * f(theta) for f in (mp.cos, mp.sin))
            im = h[units + j] if units + j < H else mp.mpf(0)
            out[j] += a * h[j] - b * im
            if units + j < H:
                out[units + j] += b * h[j] + a * im
        return out
    if cell.name == "mingru":
        a_z, a_u = gates(cell, h, x)
        return [(1 - sigma(z)) * v + sigma(z) * mp.tanh(u) for v, z, u in zip(h, a_z, a_u, strict=True)]
    if cell.name == "minlstm":
        rows = zip(h, *gates(cell, h, x), strict=True)
        return [(sigma(f) * v + sigma(i) * mp.tanh(u)) / (sigma(f) + sigma(i)) for v, f, i, u in rows]
    if cell.name == "forget-gate":
        a_f, a_u = gates(cell, h, x)
        return [sigma(f) * v + (1 - sigma(f)) * mp.tanh(u) for v, f, u in zip(h, a_f, a_u, strict=True)]
    if cell.name == "input-gate":
        return [sigma(f) * v + sigma(i) * mp.tanh(u) for v, i, f, u in zip(h, *gates(cell, h, x), strict=True)]
    if cell.name == "lstm":
        a_i, a_f, a_g, a_o = gates(cell, h, x)
        c = [sigma(f) * v + sigma(i) * mp.tanh(g) for v, i, f, g in zip(s[H:], a_i, a_f, a_g, strict=True)]
        return [sigma(o) * mp.tanh(v) for o, v in zip(a_o, c, strict=True)] + c
    if cell.name == "slstm":
        # As the paper writes it, on c and n; the state here is [h; ln n; c/n].
        n = [mp.exp(v) for v in s[H : 2 * H]]
        c = [v * w for v, w in zip(n, s[2 * H :], strict=True)]
        a_i, a_f, a_g, a_o = gates(cell, h, x)
        i, f = [mp.exp(a) for a in a_i], [mp.exp(a) if cell.forget == "exp" else sigma(a) for a in a_f]
        c = [f[j] * c[j] + i[j] * mp.tanh(a_g[j]) for j in range(H)]
        n = [f[j] * n[j] + i[j] for j in range(H)]
        return (
            [sigma(a_o[j]) * c[j] / n[j] for j in range(H)] + [mp.log(v) for v in n] + [c[j] / n[j] for j in range(H)]
        )
    if cell.name == "lstm-projected":
        a_i, a_f, a_g, a_o = gates(cell, h, x)
        c = [sigma(f) * v + sigma(i) * mp.tanh(g) for v, i, f, g in zip(s[H:], a_i, a_f, a_g, strict=True)]
        m = [sigma(o) * mp.tanh(v) for o, v in zip(a_o, c, strict=True)]
        return [sum(mp.mpf(w) * v for w, v in zip(row, m, strict=True)) for row in cell.weight_hr.tolist()] + c
    p_r, p_z, p_n = gates(cell, h, x)
    W_n = cell.weight_hh[2 * H :].tolist()
    r = [sigma(a) for a in normalise(cell, p_r)]
    masked = [a * b for a, b in zip(r, h, strict=True)]
    for i in range(H):
        product = sum(mp.mpf(w) * v for w, v in zip(W_n[i], h, strict=True))
        if cell.reset == "before":
            p_n[i] += sum(mp.mpf(w) * v for w, v in zip(W_n[i], masked, strict=True)) - product
        else:
            p_n[i] += r[i] * (product + mp.mpf(float(cell.bias_recurrent[i]))) - product
    z = [sigma(a) for a in normalise(cell, p_z)]
    n = [mp.tanh(a) for a in normalise(cell, p_n)]
    return [(1 - z[i]) * n[i] + z[i] * h[i] for i in range(H)]


def jacobian(cell, s, x):
    """Complex step of 1e−60 at 130 digits: 50 digits and more are exact."""
    tiny = mp.mpf(10) ** -60
    J = mp.matrix(len(s))
    for j in range(len(s)):
        moved = [v + (1j * tiny if i == j else 0) for i, v in enumerate(s)]
        for i, v in enumerate(step(cell, moved, x)):
            J[i, j] = v.imag / tiny
    return J


def norms_to_fifty_digits(cell, s0, xs):
    with mp.workdps(130):
        s = [mp.mpf(v) for v in s0.tolist()]
        jacobians = []
        for x in xs.tolist():
            point = [mp.mpf(v) for v in x]
            jacobians.append(jacobian(cell, s, point))
            s = step(cell, s, point)
        P, norms = mp.eye(len(s0)), []
        for J in reversed(jacobians):
            P = P * J
            norms.append(mp.sqrt(max(mp.eigsy(P * P.T, eigvals_only=True))))
        return [+v for v in norms]


def norms_of(cell, s0, xs):
    network = Layer(cell)
    states = network.advance(s0[None], xs[:, None])
    J = network.linearise(states, xs[:, None]).jacobian
    P, norms = np.eye(len(s0))[None], []
    for t in range(len(xs) - 1, -1, -1):
        P = J[t].pull(P)
        norms.append(np.linalg.norm(P[0], 2))
    return norms


def check(cell, s0, xs):
    for lag, (found, truth) in enumerate(
        zip(norms_of(cell, s0, xs), norms_to_fifty_digits(cell, s0, xs), strict=True), 1
    ):
        assert abs(mp.mpf(float(found)) / truth - 1) <= 1e-12, lag


def test_every_lag(variant, build_cell):
    name, extra = variant
    for hidden in (2, 3):
        cell = build_cell(name, hidden=hidden, gain=1.2, **extra)
        rng = np.random.default_rng(1)
        check(cell, rng.normal(size=cell.state_size) / 2, rng.normal(size=(STEPS, 2)))


def test_saturated_units_keep_their_slopes(variant, build_cell):
    """Drives near ±20: slopes near 4e−18 … 2e−9, where 1 − h² would give 0 or no digit."""
    name, extra = variant
    cell = build_cell(name, hidden=3, **extra)
    rng = np.random.default_rng(1)
    cell.weight_ih[...] *= 12 / np.abs(cell.weight_ih).sum(axis=-1, keepdims=True)
    check(cell, rng.normal(size=cell.state_size) / 2, np.sign(rng.normal(size=(6, 2))) * 1.5)


def test_one_unit_at_twenty(build_cell):
    """The article's saturation (theory C10): sech²(20) = 1.7e−17 per step, −16.7697 decades."""
    cell = build_cell("rnn", hidden=1, inputs=1)
    cell.weight_hh[...], cell.weight_ih[...], cell.bias[...] = 1.0, 0.0, 19.0
    s = np.ones((1, 1))
    line = cell.linearise(s, cell.drive(np.zeros((1, 1))))
    assert np.log10(line.jacobian.dense().item()) == pytest.approx(-16.7697, abs=5e-5)
    assert not line.traces.underflow.any()


def test_a_slope_that_float64_cannot_hold_is_flagged(variant, build_cell):
    name, extra = variant
    if "norm" in extra:
        pytest.skip("normalised pre-activations do not reach 800")
    cell = build_cell(name, **extra)
    if not cell.uses_activation:
        pytest.skip("linear: no slope can be small")
    drive = np.full((1, cell.n_gates * 3), 800.0)
    assert cell.linearise(np.zeros((1, cell.state_size)), drive).traces.underflow.all()
    assert not cell.linearise(np.zeros((1, cell.state_size)), drive / 800).traces.underflow.any()


def test_the_oracle_sees_a_planted_error(build_cell):
    cell, wrong = build_cell("gru"), build_cell("gru")
    wrong.bias_recurrent[0] += 1e-9
    xs = np.ones((3, 2))
    found, truth = norms_of(wrong, np.zeros(3), xs), norms_to_fifty_digits(cell, np.zeros(3), xs)
    assert abs(mp.mpf(float(found[-1])) / truth[-1] - 1) > 1e-12
