"""Turn what training code shows into bytes or small JSON: images, figures, tables, text, audio, video, histograms.

Values are recognised by the names of their types; no package they come from is imported.
"""

from unitrack.media.data import DataDescription, DataProgress, describe_data
from unitrack.media.encode import Encoded, encode, recognises
from unitrack.media.files import Columns
from unitrack.media.wrappers import Audio, Figure, File, Histogram, Html, Image, Table, Text, Video

__all__ = [
    "Audio", "Columns", "DataDescription", "DataProgress", "Encoded", "Figure", "File", "Histogram", "Html", "Image",
    "Table", "Text", "Video", "describe_data", "encode", "recognises",
]  # fmt: skip
