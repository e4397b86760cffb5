from fer_utils.data import *  # noqa: F403
