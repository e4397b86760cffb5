"""Distillation: a network learns from what finished runs say of the very images that it sees."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fer_utils import inference, layers, predecessors, results

if TYPE_CHECKING:
    import keras


def teachers(settled: dict[str, Any], data: str, protocol: str) -> list[keras.Model]:
    """The networks of a settled teacher, one or an ensemble's, in today's precision.

    `data` and `protocol` are checked as `predecessors.checked` says.
    """
    place = predecessors.checked(settled["teacher"], "distillation.teacher", data, protocol)
    if settled["teacher"]["file"] in predecessors.FILES:
        return [_in_precision(predecessors.network(place))]
    members = inference.members(results.read_run(place))
    return [_in_precision(predecessors.network(run.folder)) for run in members]


def taught(student: keras.Model, teachers: list[keras.Model], weight: float) -> Any:
    """A layer of images (n, 48, 48, 1) to the student's probabilities, for training it.

    In training it adds a loss: `weight` times the cross-entropy between the mean of the teachers'
    probabilities and the student's, without class weights. Both see the same augmented images
    (Beyer et al. 2022, there called consistent teaching; the loss is that of Hinton et al. 2015 at
    temperature 1); a student that trains on smaller ones scales them itself.
    """
    import keras
    from keras import ops

    class Taught(keras.layers.Layer):
        def __init__(self) -> None:
            super().__init__(dtype="float32", autocast=False, name="taught")
            self.student, self.teachers = student, teachers
            for teacher in teachers:
                teacher.trainable = False

        def call(self, images: Any, training: bool = False) -> Any:
            said = self.student(images, training=training)
            if training:
                told = sum(teacher(images, training=False) for teacher in self.teachers)
                told = ops.stop_gradient(told) / len(self.teachers)
                apart = ops.categorical_crossentropy(told, ops.cast(said, "float32"))
                self._clear_losses()  # of another device, which shares this layer
                self.add_loss(weight * ops.mean(apart))
            return said

        def compute_output_shape(self, shape: Any) -> Any:
            return (shape[0], student.output_shape[-1])

    return Taught()


def _in_precision(network: keras.Model) -> keras.Model:
    """A finished network, whose probabilities stay float32, as fast as the one that learns."""
    import keras

    for layer in network.layers:
        if layer.name != "probabilities":
            layer.dtype_policy = keras.config.dtype_policy()
    return layers.fuse(network)
