"""The control plane: policy documents in a cluster → merged, validated bundles for sidecars, and what became of them.

Imports seawall.policy and nothing else of the proxy: what a sidecar accepts and what the operator accepts is the same
code. Only handlers.py knows kopf; what decides is pure.
"""
