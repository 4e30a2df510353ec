"""What the database keeps."""

from django.db import models


class Photo(models.Model):
    """A picture that somebody has uploaded.

    Attributes:
        job: the id of the task that makes its thumbnails.
    """

    picture = models.ImageField(upload_to="photos")
    uploaded = models.DateTimeField(auto_now_add=True)
    job = models.CharField(max_length=64, editable=False)

    class Meta:
        ordering = ("-uploaded",)

    def __str__(self) -> str:
        return self.picture.name


class Thumbnail(models.Model):
    """A photo made small."""

    photo = models.ForeignKey(Photo, models.CASCADE, related_name="thumbnails")
    image = models.ImageField(width_field="width", height_field="height")
    width = models.PositiveIntegerField(editable=False)
    height = models.PositiveIntegerField(editable=False)

    class Meta:
        ordering = ("width",)

    def __str__(self) -> str:
        return self.image.name


class Report(models.Model):
    """What was new in the morning of one day."""

    day = models.DateField(unique=True)
    text = models.TextField()

    class Meta:
        ordering = ("-day",)

    def __str__(self) -> str:
        return str(self.day)
