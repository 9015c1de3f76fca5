import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    """Addresses that exist already count as verified."""

    dependencies = (("user_svc", "0003_mailed_tokens"),)

    operations = (
        migrations.AddField(
            "user", "email_verified", models.BooleanField(db_default=True, default=True, editable=False)
        ),
        migrations.AddField(
            "user", "pending_email", models.EmailField(blank=True, editable=False, max_length=254, null=True)
        ),
        migrations.AddIndex(
            "user",
            models.Index(condition=models.Q(email_verified=False), fields=["id"], name="user_unverified"),
        ),
        migrations.AddField(
            "accounttoken", "email", models.EmailField(default="", max_length=254), preserve_default=False
        ),
        migrations.AddField("accounttoken", "profile", models.JSONField(blank=True, default=dict)),
        migrations.AlterField("accounttoken", "email_key", models.CharField(db_index=True, max_length=320)),
        migrations.AlterField(
            "accounttoken",
            "purpose",
            models.CharField(
                choices=[("reset", "Reset"), ("verify", "Verify"), ("sign_up", "Sign Up")], max_length=16
            ),
        ),
        migrations.AlterField(
            "accounttoken",
            "user",
            models.ForeignKey(
                null=True,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="account_tokens",
                to="user_svc.user",
            ),
        ),
        migrations.AddConstraint(
            "accounttoken",
            models.CheckConstraint(
                condition=models.Q(purpose="sign_up", user=None)
                | (~models.Q(purpose="sign_up") & models.Q(user__isnull=False)),
                name="account_token_of_a_user",
            ),
        ),
    )
