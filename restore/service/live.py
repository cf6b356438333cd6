"""RestorationService: live frames in, restored frames out, as fast as they are taken."""

from __future__ import annotations

import gc
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor, wait

import grpc
import torch

from restore.engine.device import choose_device
from restore.engine.pixels import from_frame, to_frame
from restore.engine.run import process
from restore.engine.settings import CancelToken
from restore.errors import InvalidInput
from restore.frames import Frame, RawFrame
from restore.hostenv import tune_host
from restore.media.packets_in import PacketDecoder
from restore.service.auth import principal_of
from restore.service.live_spec import Prepared, decoder_of, prepared, started
from restore.service.log import EventLog, Metrics
from restore.service.packets import decoded
from restore.service.pieces import assembled, pieces
from restore.service.settings import ServiceSettings
from restore.service.shared import Exchange, offer_of
from restore.service.slots import Budget, NoRoom, Segments
from restore.service.status import Overloaded, translated
from restore.service.v1 import restoration_pb2 as pb
from restore.service.v1 import restoration_pb2_grpc as rpc

__all__ = ["Live"]


class Live(rpc.RestorationServiceServicer):
    """The servicer. Every stream is pulled: nothing is read before a result was taken.

    Args:
        settings: of the server.
        log: told of every stream.
        metrics: counts streams and frames.
    """

    def __init__(self, settings: ServiceSettings, log: EventLog, metrics: Metrics) -> None:
        self._settings, self._log, self._metrics = settings, log, metrics
        self._places = threading.BoundedSemaphore(settings.max_streams)
        self._budget = Budget(settings.shared_bytes)
        # Threads that stay: what torch and the allocator keep for each thread is kept once.
        self._workers = ThreadPoolExecutor(settings.max_streams, thread_name_prefix="pipeline")
        metrics.shared_bytes.set_function(lambda: self._budget.taken_bytes)
        tune_host()

    def Restore(
        self, request_iterator: Iterator[pb.RestoreRequest], context: grpc.ServicerContext
    ) -> Iterator[pb.RestoreResponse]:
        """One live stream."""
        with translated(context):
            if not self._places.acquire(blocking=False):
                self._metrics.refused.labels("streams").inc()
                raise Overloaded(
                    f"{self._settings.max_streams} live streams are under way",
                    fix="Ask again later, or make a job.",
                )
            self._metrics.acquired.inc()
            self._metrics.streams.inc()
            stream = _Stream(self._settings, self._metrics, context, self._budget, self._workers)
            context.add_callback(stream.stop)
            began_s = time.perf_counter()
            try:
                yield from stream.run(request_iterator)
            finally:
                told = {"frames": stream.frames_out, "s": round(time.perf_counter() - began_s, 3)}
                whose = principal_of(context, self._settings)
                stream.close()
                # Frames and activations of a stream that was left are free before the next begins.
                gc.collect()
                self._metrics.streams.dec()
                self._metrics.released.inc()
                self._places.release()
                self._log.write("stream_ended", principal=whose, **told)


class _Stream:
    """One stream's state; everything it holds goes with it."""

    def __init__(
        self,
        settings: ServiceSettings,
        metrics: Metrics,
        context: grpc.ServicerContext,
        budget: Budget,
        workers: Executor,
    ) -> None:
        self._settings, self._metrics, self._context = settings, metrics, context
        self._budget, self._workers = budget, workers
        self._cancel = CancelToken()
        self.frames_in = self.frames_out = 0
        self._arrived: deque[tuple[int, float]] = deque()
        self._results: Iterator[Frame] | None = None
        self._segments: Segments | None = None
        self._exchange: Exchange | None = None
        self._work: Future[None] | None = None
        self._decoder: PacketDecoder | None = None

    def stop(self) -> None:
        """Let no thread of the stream wait or begin anything."""
        self._cancel.cancel()
        if self._exchange is not None:
            self._exchange.stop()

    def close(self) -> None:
        """Let go of frames under way."""
        self.stop()
        if self._work is not None:
            wait([self._work])
        close = getattr(self._results, "close", None)
        if close is not None:
            close()
        self._results = None
        if self._segments is not None:
            self._segments.close()
        if self._decoder is not None:
            self._decoder.close()

    def run(self, requests: Iterator[pb.RestoreRequest]) -> Iterator[pb.RestoreResponse]:
        """The answers, in order."""
        began_s = time.perf_counter()
        first = next(requests, None)
        if first is None or first.WhichOneof("message") != "spec":
            raise InvalidInput("a stream that does not begin with its spec", "the spec first")
        stream, note = prepared(first.spec, self._settings), ""
        if first.spec.HasField("packets"):
            self._decoder = decoder_of(first.spec.packets, stream, self._settings)
            note = "packets and what is made of them travel in pieces"
        elif first.spec.wants_shared_memory:
            note = yield from self._agreed(requests, stream)
        yield started(stream, is_shared=self._segments is not None, note=note)
        if self._segments is not None:
            yield from self._through_slots(requests, stream, self._segments)
        else:
            yield from self._in_pieces(requests, stream)
        yield pb.RestoreResponse(
            summary=pb.LiveSummary(
                frames_in=self.frames_in,
                frames_out=self.frames_out,
                elapsed_s=time.perf_counter() - began_s,
            )
        )

    def _agreed(
        self, requests: Iterator[pb.RestoreRequest], stream: Prepared
    ) -> Generator[pb.RestoreResponse, None, str]:
        """Offer shared memory; why there is none, where the client cannot have it."""
        try:
            if not self._context.peer().startswith(("unix:", "ipv4:127.", "ipv6:%5B::1%5D")):
                raise NoRoom("the client is on another host")
            segments = Segments(
                self._budget, self._settings.queue_bytes, stream.shape.nbytes, stream.out.nbytes
            )
        except NoRoom as why:
            return str(why)
        self._segments = segments
        yield offer_of(segments)
        answer = next(requests, None)
        if answer is None or answer.WhichOneof("message") != "opened":
            raise InvalidInput("no answer to an offer of shared memory", "what was read there")
        opened = answer.opened
        # A client that calls from this host by name may still sit elsewhere, behind a tunnel.
        if segments.are_proven_by(opened.input_token, opened.output_token):
            segments.settle()
            return ""
        segments.close()
        self._segments = None
        return "the client could not open it"

    def _in_pieces(
        self, requests: Iterator[pb.RestoreRequest], stream: Prepared
    ) -> Iterator[pb.RestoreResponse]:
        most = self._settings.max_frames
        raws = (
            assembled(requests, stream.shape, stream.color, stream.time_base, most)
            if self._decoder is None
            else decoded(requests, stream, self._decoder, most)
        )
        self._results = self._restored(stream, raws)
        base = stream.clock.time_base
        for frame in self._inferred(self._results):
            raw = self._given(frame, stream)
            for piece in pieces(raw, stream.out, self.frames_out, base, synthetic=frame.synthetic):
                yield pb.RestoreResponse(piece=piece)
            self._count_out()

    def _through_slots(
        self, requests: Iterator[pb.RestoreRequest], stream: Prepared, segments: Segments
    ) -> Iterator[pb.RestoreResponse]:
        self._exchange = exchange = Exchange(segments, stream, self._settings.max_frames)
        self._cancel.check()  # the client may have gone before there was anything to stop
        self._results = self._restored(stream, exchange.raws(), exchange.free)
        self._work = self._workers.submit(self._run_pipeline, stream, exchange)
        # Not joined: it waits in gRPC, which lets it go when this call is over, and holds nothing.
        threading.Thread(
            target=exchange.read, args=(requests,), name="live reader", daemon=True
        ).start()
        yield from exchange.answers()

    def _run_pipeline(self, stream: Prepared, exchange: Exchange) -> None:
        results, base = self._results, stream.clock.time_base
        try:
            for frame in self._inferred(results or iter(())):
                raw = self._given(frame, stream)
                exchange.give(raw, self.frames_out, base, synthetic=frame.synthetic)
                self._count_out()
        except BaseException as error:  # raised again in the call's own thread
            exchange.finish(error)
        else:
            exchange.finish()

    def _restored(
        self,
        stream: Prepared,
        raws: Iterator[RawFrame],
        free: Callable[[RawFrame], None] | None = None,
    ) -> Iterator[Frame]:
        taken = self._taken(raws, choose_device(stream.settings.device), free)
        return process(taken, stream.pipeline, stream.settings, self._cancel)

    @staticmethod
    def _inferred(frames: Iterator[Frame]) -> Iterator[Frame]:
        """Pull without recording gradients; the mode is left while a result waits to be taken."""
        while True:
            with torch.inference_mode():
                frame = next(frames, None)
            if frame is None:
                return
            yield frame

    def _taken(
        self,
        raws: Iterator[RawFrame],
        device: torch.device,
        free: Callable[[RawFrame], None] | None,
    ) -> Iterator[Frame]:
        ends_s = time.monotonic() + self._settings.max_stream_s
        for raw in raws:
            if time.monotonic() > ends_s:
                raise InvalidInput(f"a stream of over {self._settings.max_stream_s:g} s", "less")
            self.frames_in += 1
            self._arrived.append((raw.index, time.monotonic()))
            frame = to_frame(raw, device)
            if free is not None:
                free(raw)
            yield frame

    def _given(self, frame: Frame, stream: Prepared) -> RawFrame:
        raw = from_frame(frame, stream.out.format, stream.out_color)
        while self._arrived and self._arrived[0][0] <= frame.index:
            index, came_s = self._arrived.popleft()
            if index == frame.index:
                self._metrics.latency_s.observe(time.monotonic() - came_s)
        return raw

    def _count_out(self) -> None:
        self.frames_out += 1
        self._metrics.frames.labels("live").inc()
