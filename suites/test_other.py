"""Every chosen task that no other module names: a task needs only its YAML file."""


def test_task(cell):
    cell.run()
