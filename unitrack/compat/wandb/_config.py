"""`wandb.config` and `wandb.summary` over a run's own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from typing import Any

from unitrack._run_data import ConfigMapping, _mapping
from unitrack.errors import UsageError
from unitrack.model import plain

__all__ = ["Config", "Early", "Summary"]


class _Items(MutableMapping[str, Any]):
    """A dict that is read and written as attributes too."""

    def __init__(self, target: ConfigMapping) -> None:
        self.__dict__["_target"] = target

    def __getitem__(self, key: str) -> Any:
        return self._target[key]

    def __getattr__(self, key: str) -> Any:
        try:
            return self[key]
        except KeyError:
            raise AttributeError(f"there is no {key!r} in it") from None

    def __setitem__(self, key: str, value: Any) -> None:
        self.update({key: value})

    def __setattr__(self, key: str, value: Any) -> None:
        self.update({key: value})

    def __delitem__(self, key: str) -> None:
        del self._target[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._target)

    def __len__(self) -> int:
        return len(self._target)

    def __repr__(self) -> str:
        return repr(dict(self))

    def update(self, other: Any = (), /, **values: Any) -> None:
        self._target.update(other, **values)


class Config(_Items):
    """Parameters. As in W&B a value changes only with `allow_val_change`."""

    def update(self, d: Any = (), /, allow_val_change: bool | None = None, **values: Any) -> None:
        """Set several. Raises UsageError when one has another value and may not change."""
        fresh = {**_mapping(d), **values}
        for key, value in fresh.items():
            if not allow_val_change and key in self._target and plain(self._target[key]) != plain(value):
                raise UsageError(
                    f"config {key!r} is {self._target[key]!r} and would become {value!r}: "
                    "if that is meant, config.update({...}, allow_val_change=True)"
                )
        self._target.update(fresh)

    def setdefaults(self, d: Any) -> None:
        """Set what isn't set yet."""
        self._target.update({key: value for key, value in _mapping(d).items() if key not in self._target})

    def as_dict(self) -> dict[str, Any]:
        """Return a copy."""
        return dict(self)


class Summary(_Items):
    """The run's summary: what was set by hand, else each metric's last value."""

    def __init__(self, target: ConfigMapping) -> None:
        super().__init__(target)
        self.__dict__["_last"] = {}

    def note(self, values: Mapping[str, Any]) -> None:
        """Take note of what was logged; nothing is written."""
        self._last.update({name: value for name, value in values.items() if isinstance(value, (int, float, str))})

    def __getitem__(self, key: str) -> Any:
        return self._target[key] if key in self._target else self._last[key]

    def __iter__(self) -> Iterator[str]:
        return iter({**self._last, **self._target})

    def __len__(self) -> int:
        return len({**self._last, **self._target})


class Early:
    """`wandb.config` and `wandb.summary` before there is a run: any use says so."""

    def __init__(self, name: str) -> None:
        self.__dict__["_name"] = name

    def _fail(self, *_args: Any, **_options: Any) -> Any:
        raise UsageError(f"call wandb.init() before wandb.{self._name} is used")

    __getitem__ = __setitem__ = __setattr__ = __contains__ = __iter__ = __len__ = _fail

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self._fail()
