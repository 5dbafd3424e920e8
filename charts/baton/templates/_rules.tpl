{{/*
What the operator may do: the same rules for a ClusterRole and for the Roles of a list of namespaces.

Secrets and ConfigMaps are named by the operator, so it needs to list neither; RBAC cannot match names
by a pattern, so `get` reaches every one of the namespace. They go with their pool by garbage collection.
*/}}
{{- define "baton.rules" -}}
- apiGroups: [baton.dev]
  resources: [relaypools]
  verbs: [get, list, watch, update, patch]
- apiGroups: [baton.dev]
  resources: [relaypools/status]
  verbs: [get, update, patch]
# For owner references that block the owner's deletion, where admission checks them.
- apiGroups: [baton.dev]
  resources: [relaypools/finalizers]
  verbs: [update]
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [services]
  verbs: [get, list, watch, create, update, patch, delete]
- apiGroups: [apps]
  resources: [controllerrevisions]
  verbs: [get, list, watch, create, update, patch, delete]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, update, patch, delete]
- apiGroups: [""]
  resources: [configmaps]
  verbs: [get, create, patch]
- apiGroups: [""]
  resources: [secrets]
  verbs: [get, create, patch]
# To see that a namespace is terminating, where nothing can be created any more.
- apiGroups: [""]
  resources: [namespaces]
  verbs: [get]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end -}}
