"""The pages."""

from django.db import transaction
from django.forms import ModelForm
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.cache import never_cache

from photos.models import Photo, Report
from photos.tasks import WIDTHS, process, thumbnail, thumbnail_id


class PhotoForm(ModelForm):
    class Meta:
        model = Photo
        fields = ("picture",)


def index(request: HttpRequest) -> HttpResponse:
    """All photos, and a form for one more."""
    form = PhotoForm(request.POST or None, request.FILES or None)
    if request.method == "POST" and form.is_valid():
        with transaction.atomic():
            photo = form.save()
            # Sent when the photo is committed: no worker looks for it before it is there.
            photo.job = process.delay_on_commit(photo.pk)
            photo.save()
        return redirect("photo", photo.pk)
    photos = Photo.objects.prefetch_related("thumbnails")
    return render(request, "photos/index.html", {"form": form, "photos": photos})


def photo(request: HttpRequest, pk: int) -> HttpResponse:
    """One photo with its thumbnails, or how far they are."""
    photo = get_object_or_404(Photo.objects.prefetch_related("thumbnails"), pk=pk)
    return render(request, "photos/photo.html", {"photo": photo, "widths": WIDTHS})


@never_cache
def progress(request: HttpRequest, pk: int) -> JsonResponse:
    """How far the thumbnails of a photo are; its page asks twice a second."""
    job = get_object_or_404(Photo, pk=pk).job
    return JsonResponse(
        {
            "state": process.AsyncResult(job).state,
            "thumbnails": {width: _percent(thumbnail_id(job, width)) for width in WIDTHS},
        }
    )


def reports(request: HttpRequest) -> HttpResponse:
    """The report of each day."""
    return render(request, "photos/reports.html", {"reports": Report.objects.all()})


def _percent(task_id: str) -> int:
    # Asked for once: between two questions the task goes on.
    match thumbnail.AsyncResult(task_id).info:
        case None:
            return 0  # nobody has begun
        case {"percent": int(percent)}:
            return percent
        case _:
            return 100  # its value, or its error
