"""What FER2013 fixes (labels, usages, image size), and the faults of data that differs."""

EMOTIONS = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")
USAGES = ("Training", "PublicTest", "PrivateTest")
SIDE = 48
MAX_LISTED = 50  # messages of one load


class DataError(ValueError):
    """Data that cannot be used; the message is one plain line: what, where, what would be right."""

    def __init__(self, message: str):
        text = " ".join(message.split())
        if len(text) > 800:  # a hostile name can be long
            text = f"{text[:400]} ... {text[-400:]}"
        super().__init__("".join(c if c.isprintable() else "?" for c in text))


class Bad(Exception):
    """Why one row or image cannot be used."""


class Faults:
    """Raises at the first bad row or image, or counts them and keeps the first messages."""

    def __init__(self, where: str, on_bad: str):
        self.where, self.on_bad = where, on_bad
        self.count, self.messages = 0, []

    def add(self, message: str) -> None:
        if self.on_bad == "error":
            raise DataError(f"{self.where}, {message}")
        self.count += 1
        if self.count <= MAX_LISTED:
            self.messages.append(str(DataError(message)))
