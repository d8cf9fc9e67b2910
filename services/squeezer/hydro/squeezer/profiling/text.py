"""A bubble report as text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from hydro.squeezer.profiling.report import BubbleReport, StageReport

_LARGEST = 12
_GIB = 1 << 30


def to_text(report: BubbleReport) -> str:
    """Gives the report as a few tables."""
    blocks = (_head(report), _stages(report), _largest(report), _fits(report))
    return "\n\n".join("\n".join(block) for block in blocks) + "\n"


def _head(report: BubbleReport) -> Iterator[str]:
    chunks = f", {report.chunks} chunks of the model on each" if report.chunks > 1 else ""
    copies = f" ({report.replicas} copies of the pipeline were recorded; this is the first)" * (report.replicas > 1)
    yield (
        f"{report.schedule}: {report.stages} stages{chunks}, {report.microbatches} microbatches,"
        f" {report.steps} steps of {1e3 * report.step_seconds:.1f} ms{copies}"
    )
    yield (
        f"bubble share {_percent(report.bubble_share)}, in theory {_percent(report.theory_bubble_share)};"
        f" trials can use {_percent(report.waiting_share)} of the time: {report.idle_stages:.2f} of"
        f" {report.stages} devices"
    )


def _stages(report: BubbleReport) -> Iterator[str]:
    yield "stage  bubble  waiting  forward ms  backward ms  free memory  for trials"
    for each in report.by_stage:
        dropped = f"  {each.events_dropped} events dropped" * (each.events_dropped > 0)
        yield (
            f"{each.stage:>5}  {_percent(each.bubble_share):>6}  {_percent(each.waiting_share):>7}"
            f"  {1e3 * each.forward_seconds:>10.2f}  {1e3 * each.backward_seconds:>11.2f}"
            f"  {each.memory_free_bytes / _GIB:>7.1f} GiB  {each.trial_memory_bytes / _GIB:>6.1f} GiB{dropped}"
        )
    yield "bubble: not computing, of the pipeline's window. waiting: in receives and collectives, of all time."
    costliest = max(each.hook_share for each in report.by_stage)
    yield f"the hook took {1e6 * costliest * report.step_seconds:.0f} us of a step ({100 * costliest:.3f}%) at most"


def _largest(report: BubbleReport) -> Iterator[str]:
    yield "largest bubbles"
    yield "stage  index  place               median ms   5 % .. 95 % of steps"
    for each in report.bubbles[:_LARGEST]:
        yield (
            f"{each.stage:>5}  {each.schedule_index:>5}  {each.place:<18}  {1e3 * each.median_seconds:>9.2f}"
            f"   {1e3 * each.low_seconds:.2f} .. {1e3 * each.high_seconds:.2f}"
        )
    if len(report.bubbles) > _LARGEST:
        yield f"... and {len(report.bubbles) - _LARGEST} shorter ones"


def _fits(report: BubbleReport) -> Iterator[str]:
    yield "what trials would fit: the share of a device that they get, by the length of their segments (a forward, say)"
    lengths = [each.segment_seconds for each in report.by_stage[0].fits]
    yield "stage  longest ms" + "".join(f"{1e3 * each:>7g} ms" for each in lengths)
    for stage in report.by_stage:
        yield f"{stage.stage:>5}  {1e3 * stage.longest_segment_seconds:>10.1f}{_shares(stage)}"
    yield _advice(report.by_stage)


def _shares(stage: StageReport) -> str:
    return "".join(f"{_percent(each.time_share) if each.segments_per_step else '-':>10}" for each in stage.fits)


def _advice(stages: Sequence[StageReport]) -> str:
    best = max(stages, key=lambda each: each.longest_segment_seconds)
    if not best.longest_segment_seconds:
        return "No bubble is long and regular enough for a trial: more stages or fewer microbatches make longer ones."
    return (
        f"Stage {best.stage} takes segments of up to {1e3 * best.longest_segment_seconds:.1f} ms;"
        " `hydro fuse` tells how long a bundle's segments are."
    )


def _percent(share: float) -> str:
    return f"{100 * share:.1f}%"
