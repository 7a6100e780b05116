// Package adapters shows freshet's adapters over what programs really use: azidentity's credentials and the configuration of the
// AWS SDK. It is a module of its own, so that the adapters need neither.
package adapters
