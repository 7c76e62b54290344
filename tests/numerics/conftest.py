import sys
from pathlib import Path

# Tapes of matrices are shared by the tests of this room; importlib mode does not put them on the path.
sys.path.insert(0, str(Path(__file__).parent))
