{{/*
What the operator may do: the same rules for a ClusterRole and for the Roles of a list of namespaces.

Secrets are named by the operator, so it needs to list none; RBAC cannot match names by a pattern, so
`get` reaches every one of the namespace. What goes with its pool goes by garbage collection.
*/}}
{{- define "baton.rules" -}}
- apiGroups: [baton.dev]
  resources: [relaypools]
  verbs: [get, list, watch, patch]
- apiGroups: [baton.dev]
  resources: [relaypools/status]
  verbs: [patch]
# For owner references that block the owner's deletion, where admission checks them.
- apiGroups: [baton.dev]
  resources: [relaypools/finalizers]
  verbs: [update]
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [services, configmaps]
  verbs: [list, watch, create, patch]
- apiGroups: [apps]
  resources: [controllerrevisions]
  verbs: [list, watch, create, delete]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [secrets]
  verbs: [get, create]
# To see that a namespace is terminating, where nothing can be created any more.
- apiGroups: [""]
  resources: [namespaces]
  verbs: [get]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end -}}
