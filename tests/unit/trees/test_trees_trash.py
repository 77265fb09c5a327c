"""The trash is emptied also while somebody still writes into what is to go."""

import threading
import time

from barque.spi.trees.trash import Trash


def test_what_is_still_written_to_is_deleted_in_the_end(tmp_path):
    """As by the worker of a daemon that was killed, which learns of that a moment later."""
    (tmp_path / "trash").mkdir()
    doomed = tmp_path / "doomed"
    doomed.mkdir()
    stop = threading.Event()
    writing = threading.Event()

    def write():
        number = 0
        while not stop.is_set():
            for place in (doomed, *(tmp_path / "trash").iterdir()):
                try:
                    (place / str(number)).touch()
                except OSError:
                    continue
            number += 1
            writing.set()

    writer = threading.Thread(target=write)
    writer.start()
    writing.wait(5)
    trash = Trash(str(tmp_path))
    assert trash.take(str(doomed))
    time.sleep(0.02)
    stop.set()
    writer.join()
    deadline = time.monotonic() + 5
    while any((tmp_path / "trash").iterdir()):
        assert time.monotonic() < deadline, "it was left"
        time.sleep(0.02)
