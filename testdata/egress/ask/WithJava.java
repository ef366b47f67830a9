// Gets each URL that a line of the standard input has with both of Java's clients, and says when that is over, whatever
// came of it.
import java.io.IOException;
import java.net.HttpURLConnection;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse.BodyHandlers;
import java.util.Scanner;

class WithJava {
    public static void main(String[] args) throws InterruptedException {
        HttpClient client = HttpClient.newHttpClient();
        for (Scanner lines = new Scanner(System.in); lines.hasNextLine(); ) {
            URI url = URI.create(lines.nextLine());
            try {
                client.send(HttpRequest.newBuilder(url).build(), BodyHandlers.discarding());
            } catch (IOException | IllegalArgumentException ignored) {
            }
            try {
                ((HttpURLConnection) url.toURL().openConnection()).getResponseCode();
            } catch (IOException ignored) {
            }
            System.out.println("over");
        }
    }
}
