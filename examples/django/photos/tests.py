"""Tests of the app, without a worker: tasks run where they are sent."""

import tempfile
from io import BytesIO

from django.core import mail
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import TestCase, override_settings
from django.urls import reverse
from PIL import Image

from photos.models import Photo, Report
from photos.tasks import report


def picture() -> SimpleUploadedFile:
    jpeg = BytesIO()
    Image.new("RGB", (1600, 1200), "teal").save(jpeg, "JPEG")
    return SimpleUploadedFile("teal.jpg", jpeg.getvalue(), "image/jpeg")


@override_settings(TASKQ_TASK_ALWAYS_EAGER=True, TASKQ_TASK_EAGER_PROPAGATES=True)
class UploadTest(TestCase):
    def setUp(self) -> None:
        folder = self.enterContext(tempfile.TemporaryDirectory())
        self.enterContext(override_settings(MEDIA_ROOT=folder))

    def test_that_an_upload_gets_thumbnails(self) -> None:
        with self.captureOnCommitCallbacks(execute=True):
            response = self.client.post(reverse("index"), {"picture": picture()})
        photo = Photo.objects.get()
        self.assertRedirects(response, reverse("photo", args=[photo.pk]))
        sizes = [(each.width, each.height) for each in photo.thumbnails.all()]
        self.assertEqual(sizes, [(160, 120), (480, 360), (1280, 960)])
        self.assertIn("160×120, 480×360, 1280×960", mail.outbox[0].body)

    def test_that_nothing_is_sent_for_what_is_no_picture(self) -> None:
        file = SimpleUploadedFile("notes.txt", b"no picture")
        with self.captureOnCommitCallbacks() as callbacks:
            response = self.client.post(reverse("index"), {"picture": file})
        self.assertContains(response, "Upload a valid image")
        self.assertEqual(callbacks, [])


class ReportTest(TestCase):
    def test_that_a_second_run_writes_no_second_report(self) -> None:
        # A task is a function like any other.
        report()
        report()
        self.assertIn("Photos uploaded: 0;", Report.objects.get().text)
