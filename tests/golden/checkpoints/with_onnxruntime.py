"""Runs an ONNX file on a picture of 224 pixels and writes the class token after the last layer norm.

    python with_onnxruntime.py MODEL PICTURE FEATURES
"""

import sys

import numpy
import onnx
import onnxruntime

model, picture, features = sys.argv[1:]
name = "/backbone/layernorm/Add_1_output_0"
net = onnx.load(model)
net.graph.output.append(onnx.ValueInfoProto(name=name))
session = onnxruntime.InferenceSession(net.SerializeToString(), providers=["CPUExecutionProvider"])
x = numpy.fromfile(picture, "<f4").reshape(1, 3, 224, 224)
(tokens,) = session.run([name], {session.get_inputs()[0].name: x})
tokens[0, 0].astype("<f4").tofile(features)
