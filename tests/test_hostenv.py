"""Every door sets what the host needs before torch is loaded, and the C library does as told."""

from __future__ import annotations

import os
import platform

import pytest

from tests.cli_material import environment, program, write_clip

# Says at the moment in which torch is looked for what it will find, and then goes on.
_WATCH = """
import os, sys
class Watch:
    def find_spec(self, name, path=None, target=None):
        if name == 'torch' and not said:
            said.append(name)
            print('TORCH FINDS', os.environ.get('OMP_WAIT_POLICY'), flush=True)
said = []
sys.meta_path.insert(0, Watch())
assert 'torch' not in sys.modules
"""
_DOORS = {
    "run": "import restore\nrestore.run({source!r}, {out!r}, no_networks=True)",
    "analyse": "import restore\nrestore.analyse({source!r})",
    "command line": (
        "sys.argv = ['restore', 'analyse', {source!r}]\n"
        "from restore.cli import main\n"
        "try:\n    main()\nexcept SystemExit as done:\n    assert not done.code\n"
    ),
    "worker": (
        "from restore.jobs import worker\n"
        "class Ends:\n"
        "    def get(self):\n"
        "        import torch\n"
        "        raise SystemExit\n"
        "worker._requests = Ends\n"
        "worker.main({folder!r}, 'cpu')\n"
    ),
}


def said(code: str, policy: str | None = None) -> str:
    """What a program prints in a process that was told nothing about waiting."""
    env = {k: v for k, v in environment().items() if k != "OMP_WAIT_POLICY"}
    env |= {} if policy is None else {"OMP_WAIT_POLICY": policy}
    result = program(code, env=env)
    return result.stdout + result.stderr


@pytest.mark.parametrize("door", _DOORS)
def test_torch_finds_passive_waiting_behind_every_door(door, tmp_path):
    source = str(write_clip(tmp_path / "clip.mp4", 3))
    asked = {"source": source, "out": str(tmp_path / "out.mkv"), "folder": str(tmp_path)}
    assert "TORCH FINDS PASSIVE" in said(_WATCH + _DOORS[door].format(**asked))


def test_what_a_person_set_stays():
    program = "import os\nfrom restore.hostenv import tune_host\ntune_host()\n"
    assert said(program + "print(os.environ['OMP_WAIT_POLICY'])", "ACTIVE").strip() == "ACTIVE"


@pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc" or "MALLOC_MMAP_THRESHOLD_" in os.environ,
    reason="counts the blocks that glibc maps",
)
def test_large_blocks_stay_in_the_heap():
    program = """
import ctypes
class Info(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in (
        'arena', 'ordblks', 'smblks', 'hblks', 'hblkhd', 'usmblks', 'fsmblks', 'uordblks',
        'fordblks', 'keepcost')]
libc = ctypes.CDLL(None)
libc.mallinfo2.restype = Info
libc.malloc.restype = ctypes.c_void_p
libc.malloc.argtypes = [ctypes.c_size_t]
def mapped():
    before = libc.mallinfo2().hblks
    assert libc.malloc(64 << 20)
    return libc.mallinfo2().hblks - before
from restore.hostenv import tune_host
first = mapped()
tune_host()
print(first, mapped())
"""
    assert said(program).split() == ["1", "0"]


@pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc" or "MALLOC_ARENA_MAX" in os.environ,
    reason="counts the heaps of glibc",
)
def test_threads_share_one_heap():
    program = """
import ctypes, threading
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.malloc.argtypes = [ctypes.c_size_t]
libc.open_memstream.restype = ctypes.c_void_p
def heaps():
    text, size = ctypes.c_char_p(), ctypes.c_size_t()
    stream = ctypes.c_void_p(libc.open_memstream(ctypes.byref(text), ctypes.byref(size)))
    libc.malloc_info(0, stream)
    libc.fclose(stream)
    return text.value.count(b'<heap nr=')
def in_threads():
    gate = threading.Barrier(4)
    def take():
        gate.wait()
        assert libc.malloc(1 << 20)
        gate.wait()
    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
import sys
if 'tuned' in sys.argv:
    from restore.hostenv import tune_host
    tune_host()
in_threads()
print(heaps())
"""
    assert said(program).strip() != "1"
    assert said("import sys\nsys.argv.append('tuned')\n" + program).strip() == "1"
