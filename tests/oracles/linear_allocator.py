"""A second caching allocator: slow and plain, written from the rules alone, against which the one of `fakerun.allocator` is checked.

It keeps a list of segments, each a list of ranges, and looks through all of them for everything; every figure is a sum over ranges. It
shares no code with `fakerun.allocator`: settings come in as plain numbers.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field

MIB = 1 << 20


@dataclass(kw_only=True)
class Options:
    """What PYTORCH_ALLOC_CONF can say. Sizes in bytes; None: no limit."""

    expandable: bool = False
    large_segment: int = 20 * MIB
    max_split: int | None = None
    max_waste: int = 20 * MIB
    divisions: dict[int, int] = field(default_factory=dict)  # by the power of two, in MiB, that a size is at least
    threshold: float = 0.0
    fraction: float = 1.0


@dataclass(eq=False, kw_only=True)
class Range:
    start: int
    size: int
    state: str  # used, pending, free or unmapped
    requested: int = 0
    uses: set[int] = field(default_factory=set)
    events: list[int] = field(default_factory=list)  # numbers of events that are not over
    since: int = 0  # the clock when it became free as it is


@dataclass(eq=False, kw_only=True)
class Segment:
    ranges: list[Range]
    stream: int
    small: bool
    pool: int
    page: int = 0  # of an expandable one

    @property
    def start(self) -> int:
        return self.ranges[0].start

    @property
    def whole(self) -> bool:
        return len(self.ranges) == 1

    def mapped(self) -> int:
        return sum(part.size for part in self.ranges if part.state != "unmapped")


class NoMemoryError(Exception):
    pass


class LinearAllocator:
    """Pools are numbers: 0 is the default one."""

    def __init__(self, options: Options, total: int, capacity: int, at_once: bool) -> None:
        self.options, self.total, self.capacity, self.at_once = options, total, capacity, at_once
        self.allowed = None if options.fraction == 1.0 else int(options.fraction * total)
        self.segments: list[Segment] = []
        self.users: dict[int, int] = {}
        self.overflow: list[int] = []
        self.current_pool = 0
        self.taken: list[tuple[int, int]] = [(0x7F00_0000_0000, 0x7F00_0000_0000)]
        """First and last address of all that was ever taken, and where addresses end."""
        self.clock = 0
        self.recorded = 0  # events so far
        self.events: dict[int, tuple[int, bool]] = {}  # of each one that is not taken: its stream, and whether it is over
        self.retries = self.ooms = self.synchronizations = self.device_allocs = self.device_frees = 0

    # What a request gets

    def round(self, size: int) -> int:
        power = max((1 << (size.bit_length() - 1)) // MIB, 1)
        steps = self.options.divisions.get(min(power, 32768), 0)
        if steps > 1 and size > 512 * steps:
            width = 512
            base = 1 << (size.bit_length() - 1)
            if size == base:
                return size
            width = base // steps
            return next(base + count * width for count in range(1, steps + 1) if base + count * width >= size)
        return next(rounded for rounded in (512, -(-size // 512) * 512) if rounded >= size)

    def allocate(self, size: int, stream: int) -> Range:
        self.finish_events()
        rounded = self.round(size)
        small, pool = rounded <= MIB, self.current_pool
        found = self.best_fit(rounded, stream, small, pool, self.options.expandable)
        expandable = self.options.expandable
        if found is None:
            found, expandable = self.new_memory(rounded, stream, small, pool)
        segment, part = found
        rest = part.size - rounded
        limit = self.options.max_split
        split = rest >= 512 if small or expandable else rest > MIB and (limit is None or rounded < limit)
        if split:
            index = segment.ranges.index(part)
            segment.ranges.insert(index + 1, Range(start=part.start + rounded, size=rest, state="free", since=self.clock))
            part.size = rounded
        part.state, part.requested = "used", size
        return part

    def best_fit(self, size: int, stream: int, small: bool, pool: int, expandable: bool) -> tuple[Segment, Range] | None:
        if self.options.threshold and self.allowed is not None and not small and pool == 0:
            self.clock += 1
        fits = [(segment, part) for segment, part in self.free_ranges(stream, small, pool) if part.size >= size]
        fits.sort(key=lambda fit: (fit[1].size, fit[1].start))
        if not expandable and fits and fits[0][0].page:
            fits = [fit for fit in fits if not fit[0].page]
        while expandable and len(fits) > 1 and fits[0][0].page and self.grown(*fits[1]) < self.grown(*fits[0]):
            fits.pop(0)
        if not fits:
            return None
        limit, found = self.options.max_split, fits[0]
        if limit is not None and (found[1].size >= limit if size < limit else found[1].size >= size + self.options.max_waste):
            return None
        return found

    def free_ranges(self, stream: int, small: bool, pool: int) -> Iterator[tuple[Segment, Range]]:
        for segment in self.segments:
            if (segment.stream, segment.small, segment.pool) == (stream, small, pool):
                for part in segment.ranges:
                    if part.state == "free":
                        yield segment, part

    @staticmethod
    def grown(segment: Segment, part: Range) -> int:
        after = segment.ranges[segment.ranges.index(part) + 1 :]
        return part.size + (after[0].size if after and after[0].state == "unmapped" else 0)

    # What the device gives

    @property
    def held(self) -> int:
        return sum(segment.mapped() for segment in self.segments)

    def new_memory(self, size: int, stream: int, small: bool, pool: int) -> tuple[tuple[Segment, Range], bool]:
        expandable = self.options.expandable
        self.collect_garbage()
        found = self.ask_device(size, stream, small, pool)
        if found is None and pool == 0:
            for other in self.overflow:
                if self.users.get(other) and (found := self.best_fit(size, stream, small, other, expandable=False)):
                    return found, False
        if found is None and self.release_oversize(size, stream, small, pool):
            found = self.ask_device(size, stream, small, pool)
        if found is None:
            self.empty_cache()
            self.retries += 1
            found = self.ask_device(size, stream, small, pool)
        if found is None:
            self.ooms += 1
            raise NoMemoryError
        return found, expandable

    def take_addresses(self, length: int) -> int:
        """The lowest gap above what was taken, of at least that length; else multiples of 32 MiB below everything."""
        for (_, end), (start, _) in itertools.pairwise(self.taken):
            if start - end >= length:
                break
        else:
            end = self.taken[0][0] - (length + 32 * MIB - 1) // (32 * MIB) * 32 * MIB
        self.taken = sorted([*self.taken, (end, end + length)])
        return end

    def ask_device(self, size: int, stream: int, small: bool, pool: int) -> tuple[Segment, Range] | None:
        if small:
            wanted = 2 * MIB
        elif size < 10 * MIB:
            wanted = self.options.large_segment
        else:
            wanted = (size + 2 * MIB - 1) // (2 * MIB) * (2 * MIB)
        if self.allowed is not None and self.held + wanted > self.allowed:
            return None
        if self.options.expandable:
            return self.map_memory(size, stream, small, pool)
        if self.held + wanted > self.capacity:
            return None
        part = Range(start=self.take_addresses(wanted), size=wanted, state="free", since=self.clock)
        self.segments.append(Segment(ranges=[part], stream=stream, small=small, pool=pool))
        self.device_allocs += 1
        return self.segments[-1], part

    def map_memory(self, size: int, stream: int, small: bool, pool: int) -> tuple[Segment, Range] | None:
        segment, start = self.room(size, stream, small, pool)
        while True:
            part = next(part for part in segment.ranges if part.start <= start < part.start + part.size)
            if part.state == "free" and part.start + part.size >= start + size:
                return segment, part
            hole = next(part for part in segment.ranges if part.start + part.size > start and part.state == "unmapped")
            end = min(start + size, hole.start + hole.size)
            pages = -(-(end - segment.start) // segment.page)
            length = segment.start + pages * segment.page - hole.start
            if self.held + length > self.capacity:
                return None
            self.device_allocs += 1
            index = segment.ranges.index(hole)
            fresh = Range(start=hole.start, size=length, state="free", since=self.clock)
            hole.start, hole.size = hole.start + length, hole.size - length
            segment.ranges[index : index + 1] = [fresh, hole] if hole.size else [fresh]
            self.merge(segment)

    def room(self, size: int, stream: int, small: bool, pool: int) -> tuple[Segment, int]:
        """Where the first row of free and unmapped ranges begins that has room; it has an unmapped one among its first two."""
        for segment in self.segments:
            if not segment.page or (segment.stream, segment.small, segment.pool) != (stream, small, pool):
                continue
            for index, part in enumerate(segment.ranges):
                if part.state != "unmapped":
                    continue
                first = index - 1 if index and segment.ranges[index - 1].state == "free" else index
                length = 0
                for other in segment.ranges[first:]:
                    if other.state not in ("free", "unmapped"):
                        break
                    length += other.size
                if length >= size:
                    return segment, segment.ranges[first].start
        page = 2 * MIB if small else self.options.large_segment
        length = -(-(self.total + self.total // 8) // page) * page
        part = Range(start=self.take_addresses(length), size=length, state="unmapped")
        self.segments.append(Segment(ranges=[part], stream=stream, small=small, pool=pool, page=page))
        return self.segments[-1], part.start

    def merge(self, segment: Segment) -> None:
        """Make one of each row of ranges that are free, or unmapped."""
        merged: list[Range] = []
        for part in segment.ranges:
            if merged and part.state == merged[-1].state and part.state in ("free", "unmapped"):
                merged[-1] = Range(start=merged[-1].start, size=merged[-1].size + part.size, state=part.state, since=self.clock)
            else:
                merged.append(part)
        segment.ranges = merged

    # What goes back

    def free(self, part: Range) -> None:
        part.state = "pending"
        for stream in part.uses:
            self.recorded += 1
            part.events.append(self.recorded)
            self.events[self.recorded] = (stream, self.at_once)
        part.uses = set()
        if not part.events:
            self.cache(part)

    def cache(self, part: Range) -> None:
        segment = next(segment for segment in self.segments if part in segment.ranges)
        part.state, part.requested, part.since = "free", 0, self.clock
        self.merge(segment)

    def record_stream(self, part: Range, stream: int) -> None:
        if next(segment for segment in self.segments if part in segment.ranges).stream != stream:
            part.uses.add(stream)

    def complete(self, stream: int | None) -> None:
        for number, (other, _) in self.events.items():
            if stream in (None, other):
                self.events[number] = (other, True)

    def finish_events(self, everything: bool = False) -> None:
        over = {number for number, (_, done) in self.events.items() if done or everything}
        for number in over:
            del self.events[number]
        if not over:
            return
        for part in [part for segment in self.segments for part in segment.ranges if part.state == "pending"]:
            part.events = [number for number in part.events if number not in over]
            if not part.events:
                self.cache(part)

    def empty_cache(self) -> None:
        self.synchronizations += 1
        self.finish_events(everything=True)
        for segment in list(self.segments):
            if segment.pool and self.users.get(segment.pool, 0) > 0:
                continue
            if not segment.page:
                if segment.whole and segment.ranges[0].state == "free":
                    self.drop(segment)
                continue
            base, frees = segment.start, self.device_frees
            for part in [part for part in segment.ranges if part.state == "free"]:
                begin = base + -(-(part.start - base) // segment.page) * segment.page
                end = base + (part.start + part.size - base) // segment.page * segment.page
                if begin < end:
                    pieces = [(part.start, begin, "free"), (begin, end, "unmapped"), (end, part.start + part.size, "free")]
                    index = segment.ranges.index(part)
                    segment.ranges[index : index + 1] = [
                        Range(start=first, size=last - first, state=state, since=self.clock)
                        for first, last, state in pieces
                        if first < last
                    ]
                    self.device_frees += 1
            self.merge(segment)
            if segment.whole and self.device_frees > frees:  # one that never had memory stays
                self.segments.remove(segment)

    def drop(self, segment: Segment) -> None:
        self.segments.remove(segment)
        self.device_frees += 1

    def release_oversize(self, size: int, stream: int, small: bool, pool: int) -> bool:
        limit = self.options.max_split
        if limit is None:
            return False
        wanted = max(size, limit)
        cached = sorted(self.free_ranges(stream, small, pool), key=lambda found: (found[1].size, found[1].start))
        enough = [found for found in cached if found[1].size >= wanted]
        if enough and not enough[0][0].page:
            self.drop(enough[0][0])
            return True
        released = 0
        for segment, part in reversed([found for found in cached if limit <= found[1].size < wanted]):
            if released < wanted and not segment.page:
                released += part.size
                self.drop(segment)
        return released >= wanted

    def collect_garbage(self) -> None:
        if not self.options.threshold or self.allowed is None:
            return
        excess = self.held - int(self.options.threshold * self.allowed)
        while excess > 0:
            idle = [
                segment
                for segment in self.segments
                if not segment.small and segment.pool == 0 and segment.whole and segment.ranges[0].state == "free"
            ]
            if not idle:
                return
            ages = [self.clock - segment.ranges[0].since for segment in idle]
            mean = sum(ages) / len(ages)
            old = [segment for segment, age in zip(idle, ages, strict=True) if age >= mean and not segment.page]
            if not old:
                return
            for segment in old:
                excess -= segment.ranges[0].size
                self.drop(segment)

    # Private pools

    def create_pool(self, pool: int, use_on_oom: bool) -> None:
        self.users[pool] = 1
        if use_on_oom:
            self.overflow.append(pool)

    def enter_pool(self, pool: int) -> None:
        self.users[pool] += 1
        self.current_pool = pool

    def leave_pool(self) -> None:
        self.users[self.current_pool] -= 1
        self.current_pool = 0

    # What there is

    def rows(self) -> list[tuple[int, int, bool, bool, int, tuple[tuple[int, int, int, str], ...]]]:
        """Each row of mapped ranges: address, stream, large, expandable, pool, and its ranges."""
        rows = []
        for segment in self.segments:
            row: list[Range] = []
            for part in [*segment.ranges, None]:
                if part is not None and part.state != "unmapped":
                    row.append(part)
                elif row:
                    shown = tuple((other.start, other.size, other.requested, other.state) for other in row)
                    rows.append((row[0].start, segment.stream, not segment.small, bool(segment.page), segment.pool, shown))
                    row = []
        return sorted(rows)

    def figures(self) -> dict[str, int]:
        """Sums over ranges, by torch's names."""
        result: dict[str, int] = {}
        for name, kinds in (("all", (True, False)), ("small_pool", (True,)), ("large_pool", (False,))):
            mine = [segment for segment in self.segments if segment.small in kinds]
            parts = [(segment, part) for segment in mine for part in segment.ranges]
            used = [part for _, part in parts if part.state == "used"]
            active = [part for _, part in parts if part.state in ("used", "pending")]
            cut = [part for segment, part in parts if part.state == "free" and not segment.page and not segment.whole]
            result |= {
                f"reserved_bytes.{name}": sum(segment.mapped() for segment in mine),
                f"segment.{name}": sum(1 for segment in mine if not segment.page),
                f"allocation.{name}": len(used),
                f"allocated_bytes.{name}": sum(part.size for part in used),
                f"active.{name}": len(active),
                f"active_bytes.{name}": sum(part.size for part in active),
                f"requested_bytes.{name}": sum(part.requested for part in active),
                f"inactive_split.{name}": len(cut),
                f"inactive_split_bytes.{name}": sum(part.size for part in cut),
            }
        return result
