"""Keep bytes under their SHA-256: files, folders as manifests, and the way back."""

from unitrack.objects.reading import SourceError
from unitrack.objects.store import ObjectInfo, ObjectStore
from unitrack.objects.tree import FileEntry, Manifest, TreeInfo

__all__ = ["FileEntry", "Manifest", "ObjectInfo", "ObjectStore", "SourceError", "TreeInfo"]
