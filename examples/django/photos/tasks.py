"""The tasks. Each may run a second time, after a crash, and then does no harm."""

from datetime import timedelta
from io import BytesIO
from typing import Any, TypedDict

from django.conf import settings
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.core.mail import send_mail
from django.db import transaction
from django.utils import timezone
from PIL import Image, ImageOps
from taskq import chord, shared_task

from photos.models import Photo, Report, Thumbnail

WIDTHS = (160, 480, 1280)
"""Of the thumbnails, in pixels."""


class Made(TypedDict):
    """A thumbnail that is in the storage, and not in the database yet."""

    name: str
    width: int
    height: int


@shared_task(bind=True)
def process(self: Any, photo_id: int) -> None:
    """Make the thumbnails of a photo at the same time; record them when all are there.

    The chord takes the place of this task: its id, which the view knows, stands for all of it.
    """
    thumbnails = [
        thumbnail.s(photo_id, width).set(task_id=thumbnail_id(self.request.id, width))
        for width in WIDTHS
    ]
    self.replace(chord(thumbnails, record.s(photo_id)))


def thumbnail_id(job: str, width: int) -> str:
    """The id of one thumbnail's task, by which its progress is found."""
    return f"{job}-{width}"


@shared_task(bind=True)
def thumbnail(self: Any, photo_id: int, width: int) -> Made:
    """Make one thumbnail, and say how far it is."""
    photo = Photo.objects.get(pk=photo_id)
    with photo.picture.open() as file, Image.open(file) as picture:
        upright = ImageOps.exif_transpose(picture).convert("RGB")
    self.update_state(state="PROGRESS", meta={"percent": 40})

    small = ImageOps.contain(upright, (width, width), Image.Resampling.LANCZOS)
    self.update_state(state="PROGRESS", meta={"percent": 80})

    jpeg = BytesIO()
    small.save(jpeg, "JPEG", quality=85, optimize=True)
    name = f"thumbnails/{photo_id}-{width}.jpg"
    default_storage.delete(name)
    name = default_storage.save(name, ContentFile(jpeg.getvalue()))
    return {"name": name, "width": small.width, "height": small.height}


@shared_task
def record(made: list[Made], photo_id: int) -> int:
    """Record all thumbnails of a photo, and have somebody told once that is committed."""
    with transaction.atomic():
        photo = Photo.objects.select_for_update().get(pk=photo_id)
        photo.thumbnails.all().delete()
        Thumbnail.objects.bulk_create(
            Thumbnail(photo=photo, image=each["name"], width=each["width"], height=each["height"])
            for each in made
        )
        announce.delay_on_commit(photo_id)
    return len(made)


@shared_task(autoretry_for=(OSError,), retry_backoff=True, max_retries=5)
def announce(photo_id: int) -> None:
    """Tell the curator of a photo; again, if the mail server is away."""
    photo = Photo.objects.get(pk=photo_id)
    sizes = ", ".join(f"{each.width}×{each.height}" for each in photo.thumbnails.all())
    text = f"{photo} is there, with thumbnails of {sizes}."
    send_mail("A new photo", text, None, [settings.CURATOR])


@shared_task
def report() -> str:
    """Write down what the last 24 hours have brought; beat sends this each morning."""
    photos = Photo.objects.filter(uploaded__gte=timezone.now() - timedelta(days=1))
    thumbnails = Thumbnail.objects.filter(photo__in=photos)
    text = f"Photos uploaded: {photos.count()}; thumbnails made: {thumbnails.count()}."
    Report.objects.update_or_create(day=timezone.localdate(), defaults={"text": text})
    return text
