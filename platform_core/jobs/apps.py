from django.apps import AppConfig


class JobsConfig(AppConfig):
    name = "platform_core.jobs"
    label = "jobs"
    verbose_name = "Jobs"
