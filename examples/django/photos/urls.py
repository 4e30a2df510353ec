"""Which page is where."""

from django.urls import path

from photos import views

urlpatterns = [
    path("", views.index, name="index"),
    path("photos/<int:pk>/", views.photo, name="photo"),
    path("photos/<int:pk>/progress/", views.progress, name="progress"),
    path("reports/", views.reports, name="reports"),
]
