"""How long Keras' fit() stays after its last batch: python benchmarks/fit_waits.py

For arrays Keras makes a tf.data pipeline whose autotuning thread polls with a period that doubles
from 10 ms to 60 s; at its end fit() waits for the next poll. Nothing here is of another project.
"""

import os
import time

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import keras
import numpy as np
import tensorflow as tf

net = keras.Sequential([keras.layers.Conv2D(16, 3), keras.layers.Flatten(), keras.layers.Dense(1)])
net.compile("sgd", "mse")
last = [0.0]
clock = keras.callbacks.LambdaCallback(
    on_train_batch_end=lambda batch, logs: last.append(time.time())
)


def fit(*data):
    """Seconds until the last batch ends and from there to the end of fit()."""
    start = time.time()
    net.fit(*data, shuffle=False, verbose=0, callbacks=[clock])
    return last[-1] - start, time.time() - last[-1]


x, y = np.zeros((512, 32, 32, 16), "float32"), np.zeros((512, 1), "float32")
fit(x, y)
repeats = int(1.5 / min(fit(x, y)[0] for _ in range(9))) + 1  # a little over the poll at 1.28 s
x, y = np.tile(x, (repeats, 1, 1, 1)), np.tile(y, (repeats, 1))
dataset = tf.data.Dataset.from_tensor_slices((x, y)).batch(32)
options = tf.data.Options()
options.autotune.enabled = False
print(f"TensorFlow {tf.__version__}, Keras {keras.__version__}; seconds after the last batch:")
for name, data in (("arrays", (x, y)), ("no autotuning", (dataset.with_options(options),))):
    work, waited = np.transpose([fit(*data) for _ in range(10)])
    print(f"{name}: {np.median(work):.2f} until the last batch,", *np.round(np.sort(waited), 2))
