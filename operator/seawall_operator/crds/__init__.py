"""The CustomResourceDefinitions, made of seawall.policy's models and of docs/documents.md, which says what each field
means. A developer's tool (`make crds`): the running operator does not import it."""
