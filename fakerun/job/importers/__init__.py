"""Jobs from the files of other launchers: pure functions from text to `ImportedJob`s. Nothing of the input is run.

`kinds` recognises a file and calls the module of its kind. `shell` splits the commands of a shell script and substitutes its variables,
`launch_commands` finds those that start ranks, `foreign_yaml` reads YAML as the tool that the file is for reads it.
"""
