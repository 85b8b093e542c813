"""ONNX: graphs in fp32 and int8, and how alike their answers are.

In: a trained student. Out: ONNX files and a report of differences on real rows.
"""
