import java.io.InputStream;
import java.net.URL;

/** Writes what an address says, trusting whom this Java trusts. */
public class Fetch {
    public static void main(String[] words) throws Exception {
        try (InputStream said = new URL(words[0]).openStream()) {
            System.out.write(said.readAllBytes());
            System.out.flush();
        }
    }
}
