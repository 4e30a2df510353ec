"""The tables in the admin, beside those of taskq."""

from django.contrib import admin

from photos.models import Photo, Report, Thumbnail

admin.site.register([Photo, Thumbnail, Report])
