// Package privacy finds sensitive values and takes them out.
package privacy
