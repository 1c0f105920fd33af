"""The weighting of a run: functions found by name, checked before the training, and their product."""

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch

from ..errors import UserError
from ..stages.dotted import error_place, is_dotted, load_dotted
from ..stages.yaml_file import nearest, one_line
from . import shipped
from .gain import glow_weights
from .known import MissingInput, Samples, Signed, Tokens


SHIPPED: dict[str, Callable] = {
    function.__name__: function
    for function in (
        shipped.glow,
        shipped.uniform,
        shipped.constant,
        shipped.tail_sft,
        shipped.pear,
        shipped.dft,
        shipped.info_sft,
        shipped.iw_sft,
        shipped.iw_sft_token,
        shipped.unlikelihood,
    )
}
_LEVELS = ("samples", "step", "tokens")
_BY_GAIN = ("glow", "constant")
_GLOW_PARAMETERS = ("alpha", "beta", "min_weight", "max_weight", "warmup_epochs")


@dataclass(frozen=True)
class Term:
    """One weighting of a run: its name, what it weighs (`"samples"`, `"step"` or `"tokens"`), and its parameters."""

    name: str
    function: Callable
    level: str
    parameters: Mapping[str, Any]

    @property
    def bounds(self) -> tuple[float, float] | None:
        """The parameters `min_weight` and `max_weight`, if it has both."""
        bounds = [self.parameters.get(name) for name in ("min_weight", "max_weight")]
        return None if None in bounds else (float(bounds[0]), float(bounds[1]))  # type: ignore[arg-type]

    @property
    def follows_gain(self) -> bool:
        """Whether its weights are those of gains, hence 1 for a sample without one."""
        return self.name in _BY_GAIN

    def of_gains(self, gains: torch.Tensor) -> torch.Tensor:
        """The weights of samples with known gains, of a term that follows these."""
        parameters = {name: value for name, value in self.parameters.items() if name != "warmup_epochs"}
        known = gains[~gains.isnan()]
        return glow_weights(known if self.name == "glow" else known * 0.0, **parameters)

    def __call__(self, known: Samples | Tokens) -> "Found":
        with torch.no_grad():
            found = self.function(known, **self.parameters)
        signed = isinstance(found, Signed)
        weights, losses = found if signed else (found, None)
        weights = weights.detach().float()
        usable = weights.isfinite() if signed else weights.isfinite() & (weights >= 0)
        return Found(weights, None if losses is None else losses.detach().float(), usable)


class Found(NamedTuple):
    """What a weighting gave: detached weights, losses of tokens if it replaces them, and which weights are usable."""

    weights: torch.Tensor
    losses: torch.Tensor | None
    usable: torch.Tensor


class Product:
    """
    The product of one or more weightings.

    Args:
        names (`Sequence[str]`): names of shipped weightings, or dotted paths of functions.
        kwargs (`Mapping[str, Any]`): their parameters: of a single one by name; of several, for each that takes some
            the mapping of its own.
        glow (`Mapping[str, Any]`): the parameters of `glow` and `constant`, which are settings of their own.

    Attributes:
        terms (`list[Term]`): the weightings.
        signed (`bool`): whether weights may be negative.
        needs (`set[str]`): what they read of what is not always known: `"initial"` losses, `"ref_log_probs"`.

    Raises:
        UserError: there is no such weighting, a parameter is unknown, missing or out of range, or a function fails
            on a made-up batch or returns what cannot be weights.
    """

    def __init__(self, names: Sequence[str], kwargs: Mapping[str, Any], glow: Mapping[str, Any]):
        names = list(names)
        if len(set(names)) < len(names) or not names:
            raise UserError(f"weighting: expected one or more different names, got {names}")
        if len(names) > 1:
            for name, values in kwargs.items():
                if name not in names:
                    raise UserError(
                        f"weighting_kwargs: {name!r} is not among the weightings {', '.join(names)}; with several of "
                        "them it holds the parameters of each under its name"
                    )
                if not isinstance(values, Mapping):
                    raise UserError(f"weighting_kwargs: {name}: expected a mapping of parameters, got {values!r}")
        self.terms = [_term(name, kwargs if len(names) == 1 else kwargs.get(name, {}), glow) for name in names]
        self.needs: set[str] = set()
        self.signed = False
        replacing = [term.name for term in self.terms if self._try_out(term)]
        if len(replacing) > 1:
            raise UserError(f"weighting: {' and '.join(replacing)} each replace the loss of a token: take one")

    @property
    def names(self) -> list[str]:
        return [term.name for term in self.terms]

    def of(self, level: str) -> list[Term]:
        """The weightings of `"samples"`, `"step"` or `"tokens"`."""
        return [term for term in self.terms if term.level == level]

    def tells_apart(self, epoch: float) -> bool:
        """Whether the weights of an epoch, counted from 1, can differ from 1."""
        return any(
            epoch > term.parameters["warmup_epochs"] if term.follows_gain else term.name != "uniform"
            for term in self.terms
        )

    @property
    def bounded(self) -> Term | None:
        """The weighting whose clip bounds are shown: the only one that has some."""
        found = [term for term in self.terms if term.bounds is not None]
        return found[0] if len(found) == 1 else None

    def _try_out(self, term: Term) -> bool:
        """Call a weighting on made-up batches, to see its faults before a model is loaded; whether it has losses."""
        given, replaces = {"initial": False, "ref_log_probs": False}, False
        for epoch, progress in ((1, 0.0), (2, 0.5)):
            while True:
                known = _made_up(epoch, progress, term.level, **given)
                try:
                    found = term.function(known, **term.parameters)
                except MissingInput as missing:
                    given[missing.name] = True
                    self.needs.add(missing.name)
                    continue
                except UserError:
                    raise
                except Exception as error:
                    raise UserError(
                        f"weighting: {term.name} fails on a made-up batch: {type(error).__name__}: "
                        f"{one_line(error)}{error_place(error)}"
                    ) from error
                break
            self.signed |= isinstance(found, Signed)
            replaces |= isinstance(found, Signed) and found.losses is not None
            _check(term, found, known)
        return replaces


def _term(name: str, kwargs: Mapping[str, Any], glow: Mapping[str, Any]) -> Term:
    if name not in SHIPPED and not is_dotted(name):
        close = nearest(name, SHIPPED) or f"; there are {', '.join(SHIPPED)}"
        raise UserError(f"weighting: there is none called {name!r}{close}; name one of your own by a dotted path")
    function = SHIPPED.get(name) or load_dotted(name, "weighting")
    try:
        first, *others = inspect.signature(function).parameters.values()
    except (TypeError, ValueError) as error:  # no function, or one without parameters
        raise UserError(f"weighting: {name} is no function of samples, step or tokens") from error
    if first.name not in _LEVELS:
        raise UserError(
            f"weighting: the first parameter of {name} is called {first.name!r}; its name says what the function "
            "weighs: samples (each on its own), step (all samples of the optimizer step) or tokens"
        )
    by_gain = name in _BY_GAIN
    known = {item.name for item in others if item.kind not in (item.VAR_KEYWORD, item.VAR_POSITIONAL)}
    free = any(item.kind == item.VAR_KEYWORD for item in others)
    for key in kwargs:
        if by_gain:
            raise UserError(f"weighting_kwargs: the parameters of {name} are settings: set glow_{key}")
        if key not in known and not free:
            raise UserError(f"weighting_kwargs: {name} has no parameter {key!r}{nearest(str(key), known)}")
    parameters = {item.name: item.default for item in others if item.default is not item.empty} | dict(kwargs)
    if by_gain:
        parameters |= {key: glow[key] for key in _GLOW_PARAMETERS}
    missing = [item.name for item in others if item.name in known - parameters.keys()]
    if missing:
        raise UserError(f"weighting_kwargs: {name} needs {', '.join(missing)}")
    return Term(name, function, first.name, parameters)


def _check(term: Term, found: Any, known: Samples | Tokens) -> None:
    """Raise a `UserError` for what cannot be the weights of a made-up batch."""
    weights, losses = found if isinstance(found, Signed) else (found, None)
    tokens = isinstance(known, Tokens)
    shape = known.log_probs.shape if isinstance(known, Tokens) else known.loss.shape
    mask = known.mask if isinstance(known, Tokens) else known.loss.new_ones(shape).bool()
    if losses is not None and not tokens:
        raise UserError(f"weighting: {term.name} returns losses, which a weighting of tokens may, not of {term.level}")
    for name, values in {"weights": weights, "losses": losses}.items():
        if values is None and name == "losses":
            continue
        if not torch.is_tensor(values) or values.shape != shape:
            got = list(values.shape) if torch.is_tensor(values) else type(values).__name__
            wanted = "tokens.log_probs" if tokens else f"{term.level}.loss"
            raise UserError(
                f"weighting: {term.name} must return a tensor of the shape of {wanted}, {list(shape)}, got {got}"
            )
        if not values[mask].isfinite().all():
            raise UserError(f"weighting: {term.name} returns {name} that are not finite numbers, on a made-up batch")
    if not isinstance(found, Signed) and (weights[mask] < 0).any():
        raise UserError(
            f"weighting: {term.name} returns negative weights; if they are meant, return "
            "glow_trl.weighting.Signed(weights)"
        )


def _made_up(epoch: int, progress: float, level: str, initial: bool, ref_log_probs: bool) -> Samples | Tokens:
    """Four samples, a positive, a negative, one without label and one without history, with up to six tokens."""
    counts = torch.tensor([6.0, 4.0, 1.0, 3.0])
    mask = torch.arange(6) < counts[:, None]
    grid = torch.linspace(0.01, 4, 24).reshape(4, 6)
    log_probs = -grid.where(mask, torch.tensor(0.0))
    loss = -log_probs.sum(1) / counts
    history = torch.tensor([0.3, -0.2, 0.0, math.nan]) if epoch > 1 else torch.full((4,), math.nan)
    samples = Samples(
        loss=loss,
        previous=loss + history,
        num_tokens=counts,
        share=counts,
        is_correct=torch.tensor([1.0, 0.0, math.nan, 0.0]),
        epoch=epoch,
        progress=progress,
        initial_loss=loss + torch.tensor([0.5, -0.1, 0.2, 0.0]) if initial else None,
    )
    if level != "tokens":
        return samples
    reference = (log_probs - 0.2 * torch.cos(grid * 5)).clamp(max=0) if ref_log_probs else None
    sample = torch.arange(4)[:, None].expand(4, 6)
    return Tokens(log_probs, grid.where(mask, torch.tensor(0.0)), mask, sample, samples, reference)


def select(samples: Samples, index: torch.Tensor) -> Samples:
    """Some of the samples, in the order of `index`."""
    return replace(samples, **{name: value[index] for name, value in samples.tensors().items()})
