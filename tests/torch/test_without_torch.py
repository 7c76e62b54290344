"""What a machine without torch sees: the room can be imported, and says what to install."""

import subprocess
import sys

CODE = """
import sys
sys.modules["torch"] = None
import gradscope.torch
from gradscope.errors import MissingExtraError
try:
    gradscope.torch.measure(lambda x, s: s, [[0.0]], None)
except MissingExtraError as error:
    assert "pip install torch" in str(error)
else:
    raise AssertionError("torch was not missed")
"""


def test_the_room_without_torch():
    subprocess.run([sys.executable, "-c", CODE], check=True)
