"""The demo's bad build can be made: said within a second, not after the demo's third act."""

from __future__ import annotations

from demo.__main__ import HERE, release


def test_the_patch_fits_the_source(tmp_path):
    copy = release(tmp_path, "0.3.0", HERE / "reconnection-loop.patch")
    source = (copy / "terminals" / "worker" / "connection.py").read_text()
    compile(source, "connection.py", "exec")
    at = source.index("granted.origin != self._server.generation")
    # In the right place: after the attach was acknowledged, in the same function.
    assert source.rindex("viewer.pump()", 0, at) > source.rindex("def ", 0, at)
