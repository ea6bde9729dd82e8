# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""How good is a model: observables, figures of merit with uncertainties, classifiers, plots and a report.

`ddcalogen validate` runs it; the methods are described in docs/validation.md.
"""
