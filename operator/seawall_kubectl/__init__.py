"""`kubectl seawall`: what holds, what is wrong, what an edit would do. It asks kubectl for everything, so that whatever
a user's kubeconfig logs in with works here too, and may do what that user may."""
