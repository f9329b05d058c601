"""Slots for requests in flight."""

import asyncio

from airflow_provider_baseten.batch.slots import Slots


def test_slots_are_taken_in_turn_and_to_repeated_requests_first():
    async def run():
        slots, order = Slots(1), []

        async def work(name, times):
            for _ in range(times):
                await slots.acquire()
                order.append(name)
                await asyncio.sleep(0)
                slots.release()

        async def repeat():
            await slots.acquire()
            order.append("first attempt")
            await slots.pause(0.0)
            order.append("second attempt")
            slots.release()

        await asyncio.gather(repeat(), work("a", 3), work("b", 3))
        return order, slots

    order, slots = asyncio.run(run())
    assert order == ["first attempt", "a", "second attempt", "b", "a", "b", "a", "b"]
    assert (slots.taken, slots.paused) == (0, 0)


def test_whoever_is_cancelled_while_waiting_leaves_no_slot_taken():
    async def run():
        slots = Slots(1)
        await slots.acquire()
        waiting = [asyncio.create_task(slots.acquire()) for _ in range(2)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        slots.release()
        await asyncio.gather(*waiting, return_exceptions=True)
        assert slots.taken == 1
        last = asyncio.create_task(slots.acquire())
        await asyncio.sleep(0)
        slots.release()
        last.cancel()  # It has its slot already, and has not noticed.
        await asyncio.gather(last, return_exceptions=True)
        return slots.taken

    assert asyncio.run(run()) == 0


def test_fewer_slots_let_those_in_flight_finish():
    async def run():
        slots = Slots(3)
        for _ in range(3):
            await slots.acquire()
        slots.resize(1)
        waiting = asyncio.create_task(slots.acquire())
        for _ in range(2):
            slots.release()
            await asyncio.sleep(0)
            assert not waiting.done()
        slots.release()
        await waiting
        slots.resize(2)
        await slots.acquire()
        return slots.taken

    assert asyncio.run(run()) == 2
