# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""Training of generative shower models and their export to ONNX (needs the extra ``train``)."""
