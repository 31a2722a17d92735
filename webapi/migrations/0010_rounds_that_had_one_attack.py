"""Settings of rounds from before there were several attacks: their one attack stands in the list, nothing is measured.

Folders for finished requests are no settings any more: jobs name their own.
"""

from django.db import migrations


def in_todays_words(apps, schema_editor):
    rounds = apps.get_model('webapi', 'Round').objects.using(schema_editor.connection.alias)
    for round_ in rounds.filter(config__has_key='attack').iterator():
        attack = round_.config.pop('attack')
        wanted, draws = attack.get('wanted', 5), attack.get('max_draws', 32)
        paraphraser = attack.get('paraphraser', {'name': 'embedded', 'config': {}})
        for named in (paraphraser, round_.config.get('generator', {})):
            named.get('config', {}).pop('cache_dir', None)
        config = {
            'paraphraser': paraphraser,
            'most': wanted,
            'least': min(wanted, 5),
            'least_draws': draws,
            'max_draws': draws,
            'batch': min(16, draws),
        }
        round_.config |= {
            'attacks': [
                {'name': 'paraphrase', 'config': config, 'seeds': attack.get('seeds', 150), 'start': 'random'}
            ],
            'held_out': {'paraphraser': paraphraser, 'draws': attack.get('test_draws', 8)},
            'measuring': {'seeds': 0},
        }
        round_.save(update_fields=['config'])


class Migration(migrations.Migration):

    dependencies = [
        ('webapi', '0009_attacks'),
    ]

    operations = [
        migrations.RunPython(in_todays_words, migrations.RunPython.noop),
    ]
