from django.db import migrations, models
from django.db.models import Case, F, Q, When


def note_what_was_asked(apps, schema_editor):
    """Tasks at vendors were asked for as often as they wanted, but for those of which no vendor was told that they want
    one more. Which of those with one answer missing these are, nobody noted: all are asked for again, by their totals,
    which a vendor that was asked before has reached or is on its way to."""
    tasks = apps.get_model('webapi', 'Task').objects.using(schema_editor.connection.alias)
    sent = tasks.exclude(remote_id='').exclude(batch__adapter__in=('pull', 'simulated'))
    one_short = Q(state='open', labelled__gt=0, wanted=F('labelled') + 1)
    sent.update(asked_for=Case(When(one_short, then=F('labelled')), default=F('wanted')))


class Migration(migrations.Migration):

    dependencies = [
        ('webapi', '0006_batches_ended_before_followed'),
    ]

    operations = [
        migrations.AddField(
            model_name='task',
            name='asked_for',
            field=models.PositiveSmallIntegerField(blank=True, null=True),
        ),
        migrations.RunPython(note_what_was_asked, migrations.RunPython.noop),
        migrations.AddIndex(
            model_name='task',
            index=models.Index(condition=models.Q(('asked_for__lt', models.F('wanted')), ('gold', None), ('state', 'open')), fields=['batch'], name='task_to_deepen'),
        ),
    ]
