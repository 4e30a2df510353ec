from __future__ import annotations

from taskq import shared_task
from tests.django.shop.models import Order


@shared_task
def ship(name: str) -> int:
    return Order.objects.filter(name=name).update(done=True)


@shared_task
async def aship(name: str) -> int:
    return await Order.objects.filter(name=name).aupdate(done=True)


@shared_task
def count() -> int:
    return Order.objects.count()


@shared_task
def fail(name: str) -> None:
    Order.objects.filter(name=name).update(done=True)
    raise ValueError(name)
