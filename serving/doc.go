// Package serving is the root of the custom server.
package serving
