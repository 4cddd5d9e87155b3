"""Stands for the SDK of a camera's maker, in the form that most have: open, start, wait for a frame, stop.

Its frames are lines of Indian Pines, (bands, columns), 100 a second; hardware would give its own.
"""

import time

import hsiedge as he


class Device:
    """An opened camera."""

    def __init__(self, serial):
        self.serial, self.bands, self.columns, self.frame_rate = serial, 200, 145, 100.0
        self._cube = he.open_scene("indian_pines").cube
        self._number, self._began = 0, 0.0

    def start(self):
        self._began = time.monotonic()

    def wait_for_frame(self, timeout):
        """The next frame; None where none came within `timeout` seconds, as when the belt stands still."""
        due = self._began + self._number / self.frame_rate - time.monotonic()
        time.sleep(max(0.0, min(due, timeout)))
        if self._number == len(self._cube):
            return None
        self._number += 1
        return self._cube[self._number - 1].T

    def stop(self):
        self._cube = None
