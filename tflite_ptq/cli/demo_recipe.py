"""The recipe that the demo writes beside its images; its first line also marks the folder as the demo's."""

from __future__ import annotations

MARK = "# Written by 'tflite-ptq demo'."

RECIPE = f"""{MARK} Handwritten digits: 8x8 grey scans, one folder a class, and a small Keras CNN.
# Run it again, or a copy of it after changing something, with: tflite-ptq convert recipe.yaml
version: 1
name: digits

model:
  path: model.keras # paths are relative to this file

dataset:
  format: {{type: image}} # JPEG, PNG, BMP or WebP files
  preprocess: # what the model was trained with; calibration and evaluation share it
    - {{color: gray}} # the model takes one channel
    - {{normalize: 0..1}} # x / 255
  calibration: # the representative dataset: integer variants take their value ranges from it
    path: train
    samples: 200
    select: stratified # the same share of every class
    seed: 0
  evaluation: # images that the model has never seen
    path: test

variants: # float32 is always built too: it is the yardstick
  - dynamic # weights int8, computes in float where it must; needs no calibration
  - float16 # weights float16: half the size
  - {{scheme: int8, io: int8}} # all int8, inputs and outputs too: for microcontrollers and accelerators
  - int16x8 # activations int16, weights int8: closer to float32, slower

benchmark:
  accuracy: {{metrics: [top1]}}
  latency: {{delegates: [cpu, xnnpack], threads: [1], max_seconds: 2}} # more: surer figures

gate: # a broken limit makes the exit code 5
  int8:
    accuracy: {{max_drop: 0.01}} # at most one point of top-1 below float32
    size: {{max_ratio: 0.6}} # so small a model is half overhead
    fully_integer: true

output: results
"""
