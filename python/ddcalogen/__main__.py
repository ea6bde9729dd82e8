# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""`python -m ddcalogen`."""

from ddcalogen.cli import main

main()
