"""From a labelled scene to a verified INT8 model, its accuracy, a map and its speed: the Python API in ten lines.

    python examples/indian_pines.py [EPOCHS]

Leaves ip.onnx, ip-scene.onnx, ip-int8-scene.onnx, flight.npy and flight.png in the current folder.
"""

import sys

import numpy as np

import hsiedge as he

epochs = int(sys.argv[1]) if len(sys.argv) > 1 else 60
max_drop = 0.5 if epochs >= 60 else 100.0  # points of OA: a net that has hardly been trained loses labels at random

scene = he.open_scene("indian_pines")  # or he.open_scene("flight.hdr", labels="labels.tif")
split = scene.split("random", train=0.1, seed=0)
model = he.train(scene, split, net="cnn2d", epochs=epochs).export("ip.onnx")
int8 = model.to_scene_graph().quantize(scene, "ip-int8-scene.onnx", max_drop=max_drop)
print(f"OA {int8.evaluate(scene).oa:.2f} % of test pixels")

np.save("flight.npy", scene.cube)  # stands for a file of your own
int8.classify("flight.npy").save("flight.png")
report = he.bench([model, int8], batches=[1], seconds=0.5)
print(report.to_frame()[["model", "precision", "pixels_per_s", "memory_mib"]].to_string(index=False))
