"""The faults themselves are put in by `make mutants`."""

from try_faults import check_that_they_fit, faults


def test_faults_fit_the_files_of_today() -> None:
    check_that_they_fit(faults([]))
