// Gets each URL that a line of the standard input has, and says when that is over, whatever came of it.
package main

import (
	"bufio"
	"fmt"
	"net/http"
	"os"
	"time"
)

func main() {
	client := http.Client{Timeout: 3 * time.Second}
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		if answer, err := client.Get(lines.Text()); err == nil {
			answer.Body.Close()
		}
		fmt.Println("over")
	}
}
