"""What a shim writes down is found by a daemon that wants to say why a start failed."""

import os

from barque.shim.crash_log import CRASH_LOG, last_defect, report_defect


def test_the_last_defect_is_the_last_ones_own_line(tmp_path):
    assert last_defect(str(tmp_path)) == ""
    assert last_defect(str(tmp_path / "nosuch")) == ""
    directory = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for text in ("first", "second"):
            try:
                raise ValueError(text)
            except ValueError as error:
                report_defect(directory, error)
    finally:
        os.close(directory)
    assert last_defect(str(tmp_path)) == "ValueError: second"


def test_it_is_bounded_and_follows_no_link(tmp_path):
    (tmp_path / CRASH_LOG).write_bytes(b"x" * 100_000 + b"\n\xff the end\n\n")
    assert last_defect(str(tmp_path)).endswith(" the end")
    (tmp_path / CRASH_LOG).write_bytes(b"y" * 100_000)
    assert len(last_defect(str(tmp_path))) == 2048
    (tmp_path / CRASH_LOG).unlink()
    (tmp_path / CRASH_LOG).symlink_to("/etc/passwd")
    assert last_defect(str(tmp_path)) == ""
