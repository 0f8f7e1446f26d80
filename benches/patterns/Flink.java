// SQL scripts in one JVM of Apache Flink, one after the other, as the suite `patterns` wants them: parallelism 1, object
// reuse, a checkpoint each 10 s. Statements end with a semicolon at the end of a line; INSERTs are awaited.
//
// java Flink TIMES SCRIPT...: for each script TIMES gets a line: the processor time of the process and the time that
// passed, in nanoseconds.

import com.sun.management.OperatingSystemMXBean;
import java.lang.management.ManagementFactory;
import java.nio.file.Files;
import java.nio.file.Path;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.table.api.EnvironmentSettings;
import org.apache.flink.table.api.TableEnvironment;

public class Flink {
    public static void main(String[] arguments) throws Exception {
        var system = (OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean();
        var times = new StringBuilder();
        for (int i = 1; i < arguments.length; i++) {
            long cpu = system.getProcessCpuTime(), wall = System.nanoTime();
            run(Files.readString(Path.of(arguments[i])));
            times.append(system.getProcessCpuTime() - cpu).append(' ').append(System.nanoTime() - wall).append('\n');
        }
        Files.writeString(Path.of(arguments[0]), times);
    }

    private static void run(String script) throws Exception {
        var settings = new Configuration();
        settings.setString("parallelism.default", "1");
        settings.setString("pipeline.object-reuse", "true");
        settings.setString("state.backend.type", "hashmap");
        settings.setString("execution.checkpointing.interval", "10s");
        settings.setString("table.local-time-zone", "UTC");
        settings.setString("taskmanager.memory.network.max", "64m");
        var environment = TableEnvironment.create(
            EnvironmentSettings.newInstance().inStreamingMode().withConfiguration(settings).build());
        for (var statement : script.split(";\\s*(\n|$)")) {
            var lines = statement.lines().filter(line -> !line.startsWith("--")).toList();
            var text = String.join("\n", lines).strip();
            if (!text.isEmpty()) {
                environment.executeSql(text).await();
            }
        }
    }
}
