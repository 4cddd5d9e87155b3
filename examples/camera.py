"""A camera's SDK as a source of lines: hsiedge run MODEL --from examples/camera.py:Camera:SERIAL -o map.hdr"""

import camera_sdk  # your camera's own

from hsiedge.live.source import Source, line_cube


class Camera(Source):
    def __init__(self, serial, options):
        super().__init__(serial, options)
        self.device = camera_sdk.Device(serial)
        self.cube = line_cube("camera", self.device.columns, self.device.bands, "uint16")
        self.line_rate = self.device.frame_rate

    def lines(self):
        self.device.start()
        while not self.stopped.is_set():
            frame = self.device.wait_for_frame(timeout=0.5)  # (bands, columns)
            if frame is None:
                return  # or `continue`, for a belt that stands still at times
            yield frame.T[None].copy()

    def close(self):
        self.device.stop()
